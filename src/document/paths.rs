//! Where a file is at home on the NAS: category, server, folder and path, out of keys and original paths (contract §3).
//!
//! Three sources, the first that knows wins: the original path, what the message said, the layout of the key.

/// What the search page filters by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Category {
    Road,
    Structure,
}

impl Category {
    /// The `category` in the index.
    pub fn as_str(self) -> &'static str {
        match self {
            Category::Road => "road",
            Category::Structure => "structure",
        }
    }

    /// The `category_display` in the index.
    pub fn display(self) -> &'static str {
        match self {
            Category::Road => "道路",
            Category::Structure => "構造",
        }
    }

    /// From either of its names, in any case.
    pub fn from_name(name: &str) -> Option<Self> {
        match name.to_ascii_lowercase().as_str() {
            "road" | "道路" => Some(Category::Road),
            "structure" | "構造" => Some(Category::Structure),
            _ => None,
        }
    }

    /// From the server's name (contract §3: ts-server3,5 → road, 6,7 → structure).
    pub fn of_server(nas_server: &str) -> Option<Self> {
        match nas_server {
            "ts-server3" | "ts-server5" => Some(Category::Road),
            "ts-server6" | "ts-server7" => Some(Category::Structure),
            _ => None,
        }
    }
}

/// Where a file is at home; `None` where nothing says so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Location {
    pub category: Option<Category>,
    /// `ts-server3`: lower case, without a domain.
    pub nas_server: Option<String>,
    /// The first folder on the server (its share).
    pub root_folder: Option<String>,
    /// `\\ts-server3\share\…`
    pub nas_path: Option<String>,
}

/// What the message said about the file's home; anything may be missing.
#[derive(Clone, Copy, Debug, Default)]
pub struct LocationHints<'a> {
    pub category: Option<&'a str>,
    pub nas_server: Option<&'a str>,
}

/// Joins what the three sources know. `original_path` is already decoded.
pub fn locate(key: &str, original_path: Option<&str>, hints: LocationHints<'_>) -> Location {
    let from_path = original_path.map(location_of_path).unwrap_or_default();
    let from_key = location_of_key(key);
    let nas_server = from_path.nas_server.or_else(|| hints.nas_server.and_then(ts_server_name)).or(from_key.nas_server);
    let category = from_path
        .category
        .or_else(|| hints.category.and_then(|name| Category::from_name(name.trim())))
        .or(from_key.category)
        .or_else(|| nas_server.as_deref().and_then(Category::of_server));
    Location {
        category,
        nas_server,
        root_folder: from_path.root_folder.or(from_key.root_folder),
        nas_path: from_path.nas_path.or(from_key.nas_path),
    }
}

/// From the key's layout (contract §1): a known prefix, perhaps a category, perhaps a server and what is on it.
fn location_of_key(key: &str) -> Location {
    let mut rest = without_layout_prefix(key);
    let mut category = None;
    if let Some((first, after)) = rest.split_once('/')
        && let Some(named) = Category::from_name(first)
    {
        category = Some(named);
        rest = after;
    }
    let Some((server, path_on_server)) =
        rest.split_once('/').and_then(|(first, after)| Some((ts_server_name(first)?, after)))
    else {
        return Location { category, ..Location::default() };
    };
    on_server(server, &path_on_server.replace('/', r"\"), category)
}

/// The key after `documents/`, `files/YYYY/MM/DD/` and the like.
fn without_layout_prefix(key: &str) -> &str {
    for prefix in ["documents/", "processed/", "docuworks-converted/", "landing/"] {
        if let Some(rest) = key.strip_prefix(prefix) {
            return rest;
        }
    }
    key.strip_prefix("files/").and_then(without_date).unwrap_or(key)
}

/// What follows `YYYY/MM/DD/`.
fn without_date(dated: &str) -> Option<&str> {
    let mut parts = dated.splitn(4, '/');
    for digits in [4, 2, 2] {
        let part = parts.next()?;
        if part.len() != digits || !part.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
    }
    parts.next()
}

/// From a path as Windows, a mount point or a URL writes it. A path without a server is still the path.
fn location_of_path(original_path: &str) -> Location {
    let slashes = original_path.replace('/', r"\");
    let path = ["smb:", "file:", "cifs:"].iter().find_map(|scheme| slashes.strip_prefix(scheme)).unwrap_or(&slashes);
    let segments: Vec<&str> = path.split('\\').filter(|segment| !segment.is_empty()).collect();
    // A UNC path begins with its server. Elsewhere (`/mnt/nas/ts-server3/…`) the server has to be recognised.
    let found = if path.starts_with(r"\\") {
        segments.first().map(|first| (0, ts_server_name(first).unwrap_or_else(|| first.to_lowercase())))
    } else {
        segments.iter().enumerate().find_map(|(index, segment)| Some((index, ts_server_name(segment)?)))
    };
    let Some((index, server)) = found else {
        return Location { nas_path: Some(path.to_owned()), ..Location::default() };
    };
    let category = segments[..index].iter().rev().find_map(|segment| Category::from_name(segment));
    on_server(server, &segments[index + 1..].join(r"\"), category)
}

/// A place on a known server.
fn on_server(nas_server: String, path_on_server: &str, category: Option<Category>) -> Location {
    Location {
        category: category.or_else(|| Category::of_server(&nas_server)),
        root_folder: path_on_server.split_once('\\').map(|(root, _)| root.to_owned()).filter(|root| !root.is_empty()),
        nas_path: (!path_on_server.is_empty()).then(|| format!(r"\\{nas_server}\{path_on_server}")),
        nas_server: Some(nas_server),
    }
}

/// `ts-server3` out of `TS-SERVER3` or `ts-server3.example.local`; `None` for every other name.
fn ts_server_name(name: &str) -> Option<String> {
    let lower = name.trim().to_ascii_lowercase();
    let host = lower.split('.').next()?;
    let number = host.strip_prefix("ts-server")?;
    let is_number = (1..=4).contains(&number.len()) && number.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| host.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// category, server, root folder, path
    type Row<'a> = (Option<Category>, Option<&'a str>, Option<&'a str>, Option<&'a str>);

    #[track_caller]
    fn assert_location(what: &str, found: &Location, expected: Row<'_>) {
        let row =
            (found.category, found.nas_server.as_deref(), found.root_folder.as_deref(), found.nas_path.as_deref());
        assert_eq!(row, expected, "{what}");
    }

    const ROAD: Option<Category> = Some(Category::Road);
    const STRUCTURE: Option<Category> = Some(Category::Structure);

    #[test]
    fn key_layouts() {
        let road_path = Some(r"\\ts-server3\現場写真\2024\a.pdf");
        for (key, expected) in [
            ("documents/road/ts-server3/現場写真/2024/a.pdf", (ROAD, Some("ts-server3"), Some("現場写真"), road_path)),
            ("processed/road/ts-server3/現場写真/2024/a.pdf", (ROAD, Some("ts-server3"), Some("現場写真"), road_path)),
            (
                "docuworks-converted/structure/ts-server7/図面/a.pdf",
                (STRUCTURE, Some("ts-server7"), Some("図面"), Some(r"\\ts-server7\図面\a.pdf")),
            ),
            (
                "files/2024/01/31/ts-server6/share/a b.pdf",
                (STRUCTURE, Some("ts-server6"), Some("share"), Some(r"\\ts-server6\share\a b.pdf")),
            ),
            ("landing/ts-server5/x/a.pdf", (ROAD, Some("ts-server5"), Some("x"), Some(r"\\ts-server5\x\a.pdf"))),
            ("documents/road/ts-server3/a.pdf", (ROAD, Some("ts-server3"), None, Some(r"\\ts-server3\a.pdf"))),
            // The folder says more than the server's number.
            (
                "documents/structure/ts-server3/x/a",
                (STRUCTURE, Some("ts-server3"), Some("x"), Some(r"\\ts-server3\x\a")),
            ),
            ("documents/road/ts-server9/x/a", (ROAD, Some("ts-server9"), Some("x"), Some(r"\\ts-server9\x\a"))),
            ("documents/ts-server9/x/a", (None, Some("ts-server9"), Some("x"), Some(r"\\ts-server9\x\a"))),
            ("documents/道路/TS-SERVER3/x/a", (ROAD, Some("ts-server3"), Some("x"), Some(r"\\ts-server3\x\a"))),
            ("documents/road/a.pdf", (ROAD, None, None, None)),
            (
                "documents/road/ts-server3/..x/../a",
                (ROAD, Some("ts-server3"), Some("..x"), Some(r"\\ts-server3\..x\..\a")),
            ),
            ("documents/road", (None, None, None, None)),
            ("documents/other/ts-server3/x/a.pdf", (None, None, None, None)),
            ("files/2024/01/31/share/a.pdf", (None, None, None, None)),
            ("files/2024/1/31/ts-server3/x/a.pdf", (None, None, None, None)),
            ("landing/a.pdf", (None, None, None, None)),
            ("a.pdf", (None, None, None, None)),
            ("", (None, None, None, None)),
        ] {
            let found = locate(key, None, LocationHints::default());
            let row =
                (found.category, found.nas_server.as_deref(), found.root_folder.as_deref(), found.nas_path.as_deref());
            assert_eq!(row, expected, "{key}");
        }
    }

    #[test]
    fn original_paths_win_over_the_key() {
        let key = "documents/structure/ts-server7/別/b.pdf";
        let at_home = (ROAD, Some("ts-server3"), Some("share"), Some(r"\\ts-server3\share\図面\a.pdf"));
        for path in [
            r"\\ts-server3\share\図面\a.pdf",
            "//ts-server3/share/図面/a.pdf",
            r"\\TS-Server3.example.local\share\図面\a.pdf",
            "smb://ts-server3/share/図面/a.pdf",
            "file://ts-server3/share/図面/a.pdf",
            "/mnt/nas/ts-server3/share/図面/a.pdf",
            "/mnt/road/ts-server3/share/図面/a.pdf",
            r"ts-server3\share\図面\a.pdf",
            r"\\ts-server3\share\\図面\a.pdf",
        ] {
            assert_location(path, &locate(key, Some(path), LocationHints::default()), at_home);
        }
    }

    #[test]
    fn an_original_path_without_a_known_server_is_still_the_path() {
        let key = "documents/structure/ts-server7/別/b.pdf";
        let drive = locate(key, Some(r"R:\図面\a.pdf"), LocationHints::default());
        assert_location("a drive", &drive, (STRUCTURE, Some("ts-server7"), Some("別"), Some(r"R:\図面\a.pdf")));
        let other_server = locate(key, Some(r"\\Filer\share\a.pdf"), LocationHints::default());
        assert_location(
            "another server",
            &other_server,
            (STRUCTURE, Some("filer"), Some("share"), Some(r"\\filer\share\a.pdf")),
        );
        let backup = locate("a", Some(r"\\filer\backup\ts-server3\a.pdf"), LocationHints::default());
        assert_location(
            "a server's name within a path",
            &backup,
            (None, Some("filer"), Some("backup"), Some(r"\\filer\backup\ts-server3\a.pdf")),
        );
    }

    #[test]
    fn hints_come_after_the_original_path_and_before_the_key() {
        let hints = LocationHints { category: Some("構造"), nas_server: Some("TS-SERVER6") };
        let from_hints = locate("docuworks-converted/a.pdf", None, hints);
        assert_location("hints alone", &from_hints, (STRUCTURE, Some("ts-server6"), None, None));
        let path = Some(r"\\ts-server3\share\a.pdf");
        assert_location("path over hints", &locate("a", path, hints), (ROAD, Some("ts-server3"), Some("share"), path));
        let server_only = LocationHints { category: None, nas_server: Some("ts-server5") };
        assert_eq!(locate("a", None, server_only).category, ROAD);
        // What is no name we know does not get into the index's filters.
        let nonsense = LocationHints { category: Some("misc"), nas_server: Some("nas 1") };
        assert_location("unknown names", &locate("documents/road/a", None, nonsense), (ROAD, None, None, None));
    }

    #[test]
    fn categories_have_two_names() {
        for category in [Category::Road, Category::Structure] {
            assert_eq!(Category::from_name(category.as_str()), Some(category));
            assert_eq!(Category::from_name(category.display()), Some(category));
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(key in any::<String>(), path in "[\\\\/a-z.:ts\\-server0-9図]{0,40}") {
            locate(&key, Some(&path), LocationHints { category: Some(&key), nas_server: Some(&path) });
            locate(&path, Some(&key), LocationHints::default());
        }
    }
}
