"""What the guides tell people to type, for guides.bats.

    guides.py blocks FILE            the fenced bash blocks as a JSON array of texts
    guides.py commands FILE          one JSON array of words for each command in them, wrappers such as sudo taken off
    guides.py names FILE             every variable that a block reads, with the number of blocks that assign it before
    guides.py code FILE              every `code span` outside of blocks; in the tables of "Old to new" the last column only
    guides.py check-aws FILE         checks each `aws` command against the CLI's own models; prints what is wrong

For README.md only the section "## Deploy" counts.
"""

import json
import pathlib
import re
import shlex
import sys

BLOCK = re.compile(r"^```bash\n(.*?)^```$", re.DOTALL | re.MULTILINE)
WRAPPERS = {"sudo": {"-u"}, "env": set(), "bash": set(), "time": set()}
KEYWORDS = {"while", "until", "do", "done", "if", "then", "else", "fi", "!", "{", "}"}


def text_of(file):
    text = pathlib.Path(file).read_text(encoding="utf-8")
    if pathlib.Path(file).name != "README.md":
        return text
    section = re.search(r"^## Deploy\n.*?(?=^## )", text, re.DOTALL | re.MULTILINE)
    return section.group(0) if section else ""


def blocks(file):
    return BLOCK.findall(text_of(file))


def outer_and_inner(text):
    """The text with each outermost $( ) as one word, and the texts within. Our guides have no parentheses in strings
    there that do not pair."""
    outer, inner, at = "", [], 0
    while at < len(text):
        if not text.startswith("$(", at):
            outer += text[at]
            at += 1
            continue
        depth, end = 1, at + 2
        while depth and end < len(text):
            depth += {"(": 1, ")": -1}.get(text[end], 0)
            end += 1
        inner.append(text[at + 2 : end - 1].strip("()") if text.startswith("$((", at) else text[at + 2 : end - 1])
        outer += "INNER"
        at = end
    return outer, inner


def texts_of_commands(text):
    outer, inner = outer_and_inner(text)
    yield outer
    for part in inner:
        yield from texts_of_commands(part)


def split_words(text):
    lexer = shlex.shlex(text, posix=True, punctuation_chars="|&;<>\n")
    lexer.whitespace = " \t"
    lexer.whitespace_split = True
    lexer.commenters = "#"
    return list(lexer)


def simple_commands(text):
    text = re.sub(r"\\\n\s*", " ", text)
    commands, words = [], []
    for word in split_words(text) + ["\n"]:
        if set(word) <= set("|&;\n"):
            if words:
                commands.append(words)
            words = []
        else:
            words.append(word)
    return commands


def unwrapped(words):
    """Without assignments before it, redirections, shell keywords and programs that only start another."""
    words = list(words)
    while words:
        first = words[0]
        if first in KEYWORDS or re.match(r"^[A-Za-z_][A-Za-z_0-9]*=", first):
            words.pop(0)
        elif first in WRAPPERS and len(words) > 1:
            words.pop(0)
            while words and (words[0].startswith("-") or "=" in words[0]):
                option = words.pop(0)
                if option in WRAPPERS[first] and words:
                    words.pop(0)
        else:
            break
    return words


def commands(file):
    found = []
    for block in blocks(file):
        for text in texts_of_commands(block):
            for words in simple_commands(text):
                if command := unwrapped(words):
                    found.append(command)
    return found


def names(file):
    assigned, read = set(), []
    for block in blocks(file):
        shell = re.sub(r"'[^']*'", "''", block)
        assigned |= set(re.findall(r"(?:^|[\s;(])([A-Z][A-Z0-9_]+)=", shell))
        assigned |= set(re.findall(r"\bread -r ([a-z_]+)", shell))
        read += [(name, name in assigned) for name in re.findall(r"\$\{?([A-Za-z_][A-Za-z0-9_]*)", shell)]
    return read


def code_spans(file):
    text = BLOCK.sub("", text_of(file))
    old_to_new = re.split(r"^## (?:Old to new|旧コマンドとの対応)$", text, maxsplit=1, flags=re.MULTILINE)
    spans = re.findall(r"`([^`\n]+)`", old_to_new[0])
    for line in old_to_new[1].splitlines() if len(old_to_new) > 1 else []:
        # "Left out" names what is not there any more.
        if re.match(r"^### (?:Left out|採らなかった)", line):
            break
        spans += re.findall(r"`([^`\n]+)`", re.split(r"(?<!\\) \| ", line.strip("| "))[-1])
    return spans


def check_aws(file):
    """Service, operation and options, by the models that the CLI is made from. What the CLI adds by itself is listed."""
    import botocore.session
    from botocore import xform_name

    session = botocore.session.get_session()
    own_commands = {("logs", "tail"): {"--since", "--follow", "--log-stream-name-prefix", "--log-stream-names",
                                       "--filter-pattern", "--format"}}
    general = {"--query", "--output", "--region", "--profile", "--max-items", "--page-size", "--cli-input-json"}
    wrong = []
    for words in commands(file):
        if words[0] != "aws":
            continue
        options = {word for word in words if word.startswith("--")}
        # `s3` has commands of its own; `s3api` is the service.
        service, operation = words[1].replace("s3api", "s3"), words[2]
        where = " ".join(words[:3])
        if (service, operation) in own_commands:
            unknown = options - own_commands[service, operation] - general
        else:
            model = session.get_service_model(service)
            known = {xform_name(name, "-"): name for name in model.operation_names}
            if operation not in known:
                wrong.append(f"{where}: no such operation")
                continue
            shape = model.operation_model(known[operation]).input_shape
            members = shape.members if shape else {}
            allowed = {"--" + xform_name(name, "-") for name in members}
            allowed |= {"--no-" + xform_name(name, "-") for name, it in members.items() if it.type_name == "boolean"}
            required = {"--" + xform_name(name, "-") for name in (shape.required_members if shape else [])}
            unknown = options - allowed - general
            negated = {"--" + option.removeprefix("--no-") for option in options if option.startswith("--no-")}
            wrong += [f"{where}: {name} is missing" for name in sorted(required - options - negated)]
        wrong += [f"{where}: no option {name}" for name in sorted(unknown)]
    return wrong


def main():
    what, file = sys.argv[1:]
    if what == "check-aws":
        problems = check_aws(file)
        print("\n".join(problems), end="\n" if problems else "")
        sys.exit(bool(problems))
    answers = {"blocks": blocks, "commands": commands, "names": names, "code": code_spans}
    print(json.dumps(answers[what](file), ensure_ascii=False))


if __name__ == "__main__":
    main()
