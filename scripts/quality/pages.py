"""Scans of known text: LibreOffice lays a page out, pdftoppm renders it, and what offices do to paper is done to it.

Needs Pillow and img2pdf. Everything is seeded: the same versions make the same pixels.
"""
import base64
import pathlib
import random
import subprocess

import img2pdf
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageOps

import known_text as known
import office
import opendocument
from material import HALF, PEER_SHARE, Scan

SEED = 20240315
RED = (200, 30, 40)


def laid_out(folder: pathlib.Path) -> dict[str, pathlib.Path]:
    """The PDFs of the pages that the scans are made from, by name."""
    pages = {
        "prose": opendocument.plain_page(known.SCANNED),
        "large": opendocument.plain_page(known.SCANNED, 16, ("190mm", "190mm")),
        "small": opendocument.plain_page(known.SCANNED[:2], 10.5, ("110mm", "60mm")),
        "columns": opendocument.column_page(),
        "ruled": opendocument.ruled_page(),
        "upright": opendocument.vertical_page(),
    }
    for name, content in pages.items():
        (folder / f"{name}.fodt").write_bytes(content)
    made = office.convert([folder / f"{name}.fodt" for name in pages], "pdf", folder)
    return {path.stem: path for path in made}


def rendered(pdf: pathlib.Path, dpi: int, *options: str) -> Image.Image:
    """The first page; gray unless the options say otherwise."""
    options = options or ("-gray",)
    target = pdf.with_name(f"{pdf.stem}-{dpi}")
    subprocess.run(["pdftoppm", "-r", str(dpi), *options, "-singlefile", "-png", str(pdf), str(target)], check=True)
    return Image.open(target.with_suffix(".png"))


def noisy(image: Image.Image, strength: float, blur: float = 0.6) -> Image.Image:
    """Gray grain and a soft lens. The sum of two even noises is close enough to what a sensor does."""
    size = image.size
    dice = random.Random(SEED)
    first, second = (Image.frombytes("L", size, dice.randbytes(size[0] * size[1])) for _ in range(2))
    soft = image.convert("L").filter(ImageFilter.GaussianBlur(blur))
    return Image.blend(soft, ImageChops.add(first, second, scale=2), strength)


def stamped(image: Image.Image) -> Image.Image:
    """A red seal across the text, as ink: it darkens what is under it. It has no words, so that nobody has to say
    whether they are text."""
    seal = Image.new("RGB", image.size, "white")
    draw = ImageDraw.Draw(seal)
    x, y, radius = image.width * 0.72, image.height * 0.42, image.width * 0.11
    for share in (1.0, 0.8):
        reach = radius * share
        draw.ellipse([x - reach, y - reach, x + reach, y + reach], outline=RED, width=12)
    for height in (y - radius * 0.25, y + radius * 0.25):
        draw.line([x - radius * 0.75, height, x + radius * 0.75, height], fill=RED, width=10)
    return ImageChops.multiply(image.convert("RGB"), seal)


def as_pdf(image: Image.Image, path: pathlib.Path, dpi: tuple[float, float]) -> pathlib.Path:
    """A PDF of one page that is this picture: Group 4 for black and white, else without loss."""
    picture = path.with_suffix(".tif" if image.mode == "1" else ".png")
    image.save(picture, dpi=dpi, **({"compression": "group4"} if image.mode == "1" else {}))
    return wrapped(picture, path, dpi)


def wrapped(picture: pathlib.Path, path: pathlib.Path, dpi: tuple[float, float]) -> pathlib.Path:
    layout = img2pdf.get_fixed_dpi_layout_fun(dpi)
    path.write_bytes(img2pdf.convert(str(picture), layout_fun=layout, engine=img2pdf.Engine.internal))
    picture.unlink()
    return path


def bilevel(image: Image.Image) -> Image.Image:
    return image.convert("L").point(lambda level: 255 if level > 160 else 0).convert("1", dither=Image.Dither.NONE)


def of_prose(page: Image.Image, folder: pathlib.Path) -> list[Scan]:
    """What is done to one page of horizontal prose."""
    truth = "\n".join(known.SCANNED)
    at_300 = (300.0, 300.0)
    scanned = noisy(page, 0.18)
    scans = [Scan(as_pdf(scanned, folder / "scan.pdf", at_300), truth)]
    worn = folder / "worn.jpg"
    noisy(page, 0.35, 1.2).save(worn, quality=30, dpi=at_300)
    scans.append(Scan(wrapped(worn, folder / "worn.pdf", at_300), truth, remark="grain, blur, JPEG of quality 30"))
    for turn, degrees in [
        (Image.Transpose.ROTATE_90, 90), (Image.Transpose.ROTATE_180, 180), (Image.Transpose.ROTATE_270, 270),
    ]:
        turned = as_pdf(scanned.transpose(turn), folder / f"rotated-{degrees}.pdf", at_300)
        scans.append(Scan(turned, truth, HALF))
    skewed = page.convert("L").rotate(3, Image.Resampling.BICUBIC, expand=True, fillcolor=255)
    scans.append(Scan(as_pdf(noisy(skewed, 0.18), folder / "skewed-3.pdf", at_300), truth))
    dark = ImageOps.invert(page.convert("L")).point(lambda level: 30 + level * 200 // 255)
    scans.append(Scan(as_pdf(noisy(dark, 0.1), folder / "light-on-dark.pdf", at_300), truth))
    stamp = folder / "stamped.jpg"
    stamped(scanned).save(stamp, quality=80, dpi=at_300)
    scans.append(Scan(wrapped(stamp, folder / "stamped.pdf", at_300), truth, remark="a red seal across lines"))
    return scans


def of_resolutions(pages: dict[str, pathlib.Path], folder: pathlib.Path) -> list[Scan]:
    truth, short = "\n".join(known.SCANNED), "\n".join(known.SCANNED[:2])
    coarse = noisy(rendered(pages["large"], 72), 0.05, 0.3)
    scans = [Scan(as_pdf(coarse, folder / "72dpi.pdf", (72.0, 72.0)), truth, remark="16-point letters")]
    fine = bilevel(rendered(pages["large"], 204))
    fax = fine.resize((fine.width, fine.height * 98 // 204), Image.Resampling.NEAREST)
    scans.append(Scan(as_pdf(fax, folder / "fax.pdf", (204.0, 98.0)), truth, remark="204 × 98 dpi, black and white"))
    for dpi in (1200, 2400):
        page = rendered(pages["small"], dpi, "-mono").convert("1")
        scans.append(Scan(as_pdf(page, folder / f"{dpi}dpi.pdf", (dpi, dpi)), short))
    return scans


def with_bad_layer(picture: Image.Image, folder: pathlib.Path) -> Scan:
    """A scan that somebody once sent through an OCR which knew English only: its text is invisible, and garbage."""
    source, path = folder / "layer.png", folder / "bad-layer"
    picture.save(source, dpi=(300, 300))
    subprocess.run(["tesseract", str(source), str(path), "-l", "eng", "pdf"], check=True, capture_output=True)
    source.unlink()
    remark = "an invisible text layer by an English OCR"
    return Scan(path.with_suffix(".pdf"), "\n".join(known.SCANNED), remark=remark)


def pasted(picture: Image.Image, folder: pathlib.Path) -> Scan | None:
    """A docx whose only content is a scan."""
    source, image = folder / "pasted.fodt", folder / "pasted-picture.png"
    picture.save(image, dpi=(300, 300))
    source.write_bytes(opendocument.picture_page(base64.b64encode(image.read_bytes()).decode(), picture.size))
    made = office.convert([source], "docx", folder)
    remark = "Tesseract and OCRmyPDF are given the picture itself"
    return Scan(made[0], "\n".join(known.SCANNED), remark=remark, picture=image) if made else None


def write_all(folder: pathlib.Path) -> list[Scan]:
    """The scans; none without LibreOffice, which lays the pages out."""
    work = folder / "work"
    work.mkdir(parents=True)
    pages = laid_out(work)
    if len(pages) < 6:
        return []
    page = rendered(pages["prose"], 300)
    scans = of_prose(page, folder) + of_resolutions(pages, folder)
    ruled = [known.SCANNED[0], *("\t".join(row) for row in known.RULED)]
    for name, stem, truth, share in [
        ("two-columns.pdf", "columns", "\n".join(known.SCANNED + known.PARAGRAPHS[8:12]), PEER_SHARE),
        ("ruled-table.pdf", "ruled", "\n".join(ruled), PEER_SHARE),
        ("vertical.pdf", "upright", "\n".join(known.VERTICAL), HALF),
    ]:
        picture = noisy(rendered(pages[stem], 300), 0.18)
        scans.append(Scan(as_pdf(picture, folder / name, (300.0, 300.0)), truth, share))
    scans.append(with_bad_layer(noisy(page, 0.18), folder))
    document = pasted(noisy(page, 0.1), folder)
    return scans + [document] if document else scans
