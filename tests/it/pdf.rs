//! PDF files made on the spot: small, ours, and of any number of pages.

use std::fmt::Write as _;

/// A PDF of `pages` pages that each show the scan built into the binary, without any text layer.
pub fn scan(pages: usize) -> Vec<u8> {
    let original = std::fs::read(crate::harness::repository().join("src/job/smoke_test.pdf")).expect("the scan");
    let start = find(&original, b"stream\n").expect("the picture's stream") + b"stream\n".len();
    let end = find(&original, b"\nendstream").expect("the picture's end");
    let picture = &original[start..end];
    let mut image = format!(
        "<< /Type /XObject /Subtype /Image /Width 1000 /Height 420 /ColorSpace /DeviceGray /BitsPerComponent 8 \
         /Filter /DCTDecode /Length {} >>\nstream\n",
        picture.len()
    )
    .into_bytes();
    image.extend_from_slice(picture);
    image.extend_from_slice(b"\nendstream");
    let content = b"<< /Length 33 >>\nstream\nq 240 0 0 100.8 0 0 cm /I Do Q    \nendstream".to_vec();
    let page = "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 240 100.8] \
                /Resources << /XObject << /I 3 0 R >> >> /Contents 4 0 R >>";
    assemble(vec![image, content], pages, page)
}

/// A PDF of one page that shows an uncompressed grey picture, `samples` row by row, at 200 dots an inch.
pub fn grey_picture(width: usize, height: usize, samples: &[u8]) -> Vec<u8> {
    assert_eq!(samples.len(), width * height);
    let mut image = format!(
        "<< /Type /XObject /Subtype /Image /Width {width} /Height {height} /ColorSpace /DeviceGray \
         /BitsPerComponent 8 /Length {} >>\nstream\n",
        samples.len()
    )
    .into_bytes();
    image.extend_from_slice(samples);
    image.extend_from_slice(b"\nendstream");
    let [wide, high] = [width, height].map(|pixels| pixels as f64 * 72.0 / 200.0);
    let drawn = format!("q {wide} 0 0 {high} 0 0 cm /I Do Q");
    let content = format!("<< /Length {} >>\nstream\n{drawn}\nendstream", drawn.len()).into_bytes();
    let page = format!(
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 {wide} {high}] \
         /Resources << /XObject << /I 3 0 R >> >> /Contents 4 0 R >>"
    );
    assemble(vec![image, content], 1, &page)
}

/// A scan that makes the child which reads it misbehave, in debug builds: `order` is `<stage>:<how>:<effort>`
/// (see `src/pool/misbehave.rs`).
pub fn hostile_scan(pages: usize, order: &str) -> Vec<u8> {
    let mut file = scan(pages);
    file.extend_from_slice(format!("%fpw-test:{order}\n").as_bytes());
    file
}

/// A PDF of one page with a text layer: `lines` of ASCII without brackets or backslashes.
pub fn with_text(lines: &[&str]) -> Vec<u8> {
    let shown: String = lines.iter().map(|line| format!("({line}) Tj T* ")).collect();
    let drawn = format!("BT /F 11 Tf 14 TL 40 780 Td {shown}ET");
    let content = format!("<< /Length {} >>\nstream\n{drawn}\nendstream", drawn.len()).into_bytes();
    let font = b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>".to_vec();
    let page = "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] \
                /Resources << /Font << /F 3 0 R >> >> /Contents 4 0 R >>";
    assemble(vec![font, content], 1, page)
}

/// A PDF of `pages` pages with nothing on them.
pub fn empty_pages(pages: usize) -> Vec<u8> {
    assemble(Vec::new(), pages, "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] >>")
}

/// A page whose content is drawn ten times by the one before, `depth` times over; a page that draws itself with `depth` 0.
pub fn unfolding(depth: usize) -> Vec<u8> {
    let form = |draws: &str, what: String| {
        format!(
            "<< /Type /XObject /Subtype /Form /BBox [0 0 400 400] /Resources << /XObject << {what} >> >> /Length {} >>\n\
             stream\n{draws}\nendstream",
            draws.len()
        )
        .into_bytes()
    };
    // The page's content is object 3, the forms come after it.
    let mut shared = vec![b"<< /Length 5 >>\nstream\n/X Do\nendstream".to_vec()];
    shared.extend((0..depth).map(|number| form(&"/X Do ".repeat(10), format!("/X {} 0 R", number + 5))));
    shared.push(if depth == 0 {
        form("/X Do /X Do", "/X 4 0 R".to_owned())
    } else {
        form("0 0 1 1 re f", String::new())
    });
    let page = "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 400 400] \
                /Resources << /XObject << /X 4 0 R >> >> /Contents 3 0 R >>";
    assemble(shared, 1, page)
}

/// Catalog and page tree (objects 1 and 2), the shared objects from 3 on, then the pages.
fn assemble(shared: Vec<Vec<u8>>, pages: usize, page: &str) -> Vec<u8> {
    let first_page = 3 + shared.len();
    let mut kids = String::new();
    for number in first_page..first_page + pages {
        write!(kids, "{number} 0 R ").expect("a string takes everything");
    }
    let mut objects = vec![
        b"<< /Type /Catalog /Pages 2 0 R >>".to_vec(),
        format!("<< /Type /Pages /Kids [{kids}] /Count {pages} >>").into_bytes(),
    ];
    objects.extend(shared);
    objects.extend(std::iter::repeat_n(page.as_bytes().to_vec(), pages));

    let mut file = b"%PDF-1.4\n".to_vec();
    let mut offsets = Vec::with_capacity(objects.len());
    for (position, object) in objects.iter().enumerate() {
        offsets.push(file.len());
        file.extend_from_slice(format!("{} 0 obj\n", position + 1).as_bytes());
        file.extend_from_slice(object);
        file.extend_from_slice(b"\nendobj\n");
    }
    let table = file.len();
    file.extend_from_slice(format!("xref\n0 {}\n0000000000 65535 f \n", objects.len() + 1).as_bytes());
    for offset in offsets {
        file.extend_from_slice(format!("{offset:010} 00000 n \n").as_bytes());
    }
    let trailer = format!("trailer << /Size {} /Root 1 0 R >>\nstartxref\n{table}\n%%EOF\n", objects.len() + 1);
    file.extend_from_slice(trailer.as_bytes());
    file
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}
