//! Grey without the coloured stamps that lie over black print.
//!
//! A red seal across a line is nearly as dark in grey as the print below it, and hides more than what it covers: three
//! seals cost a third of a page (CER .336 on handbook-b, .005 without them). In the brightest of the three colour
//! channels red ink is nearly paper and black ink is black; what is left of the ink is brightened to paper, or its rings
//! would cut the lines that they cross (CER .186 on a page with one seal, .005 when its rings are gone). Coloured print must stay, though: a page whose every third line is
//! red loses .386 that way. So only ink of the shape of a stamp that has print under it goes.

use image::{GrayImage, RgbImage};

/// Levels (of 255) between the strongest and the weakest channel at which ink counts as coloured.
const MIN_COLOUR: u8 = 60;

/// The same within a stamp: at its edges, where scanners and JPEG blur colour, its ink is a brown that is hardly coloured.
const MIN_COLOUR_IN_STAMP: u8 = 25;

/// A pixel below this in its strongest channel is black print, whatever its colour.
const PRINT_BRIGHTNESS: u8 = 100;

/// Shortest side of a stamp, inches: larger than coloured letters.
const MIN_STAMP_INCHES: f64 = 0.35;

/// Longest side of a stamp, inches: beyond are frames around parts of a page, highlighted lines and photos.
const MAX_STAMP_INCHES: f64 = 3.0;

/// The least share of a stamp's box that is print. A stamp on bare paper stays readable.
const MIN_PRINT_SHARE: f64 = 0.005;

/// Side of the squares in which ink is joined to shapes.
const CELL_PIXELS: u32 = 8;

/// Coloured pixels that make a cell part of a shape.
const MIN_COLOURED_PIXELS: u32 = 3;

/// A rectangle of cells, both ends inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct CellBox {
    left: usize,
    top: usize,
    right: usize,
    bottom: usize,
}

impl CellBox {
    /// With the cells around it, into which the ink is blurred.
    fn with_edges(self) -> CellBox {
        CellBox {
            left: self.left.saturating_sub(1),
            top: self.top.saturating_sub(1),
            right: self.right + 1,
            bottom: self.bottom + 1,
        }
    }
}

/// Brightens coloured ink in `grey` where it is a stamp over print; `colour` is the same page.
pub fn lift_stamps(grey: &mut GrayImage, colour: &RgbImage, dpi: u32) {
    if grey.dimensions() != colour.dimensions() {
        return;
    }
    for stamp in stamps(colour, dpi).into_iter().map(CellBox::with_edges) {
        let (ink, paper) = brightness_of_ink_and_paper(stamp, colour);
        for (x, y) in pixels_of(stamp, colour) {
            let rgb = colour.get_pixel(x, y).0;
            if colourfulness(rgb) >= MIN_COLOUR_IN_STAMP {
                let brightened =
                    (u32::from(strongest(rgb)) * u32::from(paper) / u32::from(ink.max(1))).min(paper.into());
                let value = &mut grey.get_pixel_mut(x, y).0[0];
                *value = (*value).max(brightened as u8);
            }
        }
    }
}

/// The medians of a stamp's ink and of all of its box, in the strongest channel. A filled stamp counts as paper.
fn brightness_of_ink_and_paper(stamp: CellBox, colour: &RgbImage) -> (u8, u8) {
    let (mut inked, mut all) = ([0_u32; 256], [0_u32; 256]);
    for (x, y) in pixels_of(stamp, colour) {
        let rgb = colour.get_pixel(x, y).0;
        all[usize::from(strongest(rgb))] += 1;
        inked[usize::from(strongest(rgb))] += u32::from(is_coloured(rgb));
    }
    let (ink, paper) = (median(&inked), median(&all));
    (ink, paper.max(ink))
}

fn median(histogram: &[u32; 256]) -> u8 {
    let half = histogram.iter().sum::<u32>() / 2;
    let mut seen = 0;
    let position = histogram.iter().position(|count| {
        seen += count;
        seen > half
    });
    position.unwrap_or(0) as u8
}

/// The boxes of coloured shapes that are as large as stamps and have print under them.
fn stamps(colour: &RgbImage, dpi: u32) -> Vec<CellBox> {
    let cells_per_inch = f64::from(dpi.max(1)) / f64::from(CELL_PIXELS);
    let sides = MIN_STAMP_INCHES * cells_per_inch..=MAX_STAMP_INCHES * cells_per_inch;
    let is_stamp_sized = |shape: &CellBox| {
        sides.contains(&((shape.right - shape.left + 1) as f64))
            && sides.contains(&((shape.bottom - shape.top + 1) as f64))
    };
    coloured_shapes(colour).into_iter().filter(is_stamp_sized).filter(|shape| has_print(*shape, colour)).collect()
}

fn has_print(shape: CellBox, colour: &RgbImage) -> bool {
    let (mut all, mut print) = (0_u64, 0_u64);
    for (x, y) in pixels_of(shape, colour) {
        all += 1;
        print += u64::from(strongest(colour.get_pixel(x, y).0) < PRINT_BRIGHTNESS);
    }
    print as f64 >= all as f64 * MIN_PRINT_SHARE
}

/// Coloured cells that touch each other, as boxes around them.
fn coloured_shapes(colour: &RgbImage) -> Vec<CellBox> {
    let columns = (colour.width() / CELL_PIXELS) as usize;
    let rows = (colour.height() / CELL_PIXELS) as usize;
    let mut unseen = coloured_cells(colour, columns, rows);
    let mut shapes = Vec::new();
    let mut to_visit = Vec::new();
    for start in 0..unseen.len() {
        if !std::mem::take(&mut unseen[start]) {
            continue;
        }
        let (column, row) = (start % columns, start / columns);
        let mut shape = CellBox { left: column, top: row, right: column, bottom: row };
        to_visit.push((column, row));
        while let Some((column, row)) = to_visit.pop() {
            shape.left = shape.left.min(column);
            shape.right = shape.right.max(column);
            shape.top = shape.top.min(row);
            shape.bottom = shape.bottom.max(row);
            for near_row in row.saturating_sub(1)..=(row + 1).min(rows - 1) {
                for near_column in column.saturating_sub(1)..=(column + 1).min(columns - 1) {
                    if std::mem::take(&mut unseen[near_row * columns + near_column]) {
                        to_visit.push((near_column, near_row));
                    }
                }
            }
        }
        shapes.push(shape);
    }
    shapes
}

fn coloured_cells(colour: &RgbImage, columns: usize, rows: usize) -> Vec<bool> {
    let side = CELL_PIXELS as usize;
    let pixels = colour.as_raw().as_chunks::<3>().0;
    let mut cells = Vec::with_capacity(columns * rows);
    let mut counts = vec![0_u32; columns];
    for band in pixels.chunks_exact((colour.width() as usize * side).max(1)) {
        counts.fill(0);
        for row in band.chunks_exact(colour.width() as usize) {
            for (count, cell) in counts.iter_mut().zip(row.chunks_exact(side)) {
                *count += cell.iter().map(|rgb| u32::from(is_coloured(*rgb))).sum::<u32>();
            }
        }
        cells.extend(counts.iter().map(|count| *count >= MIN_COLOURED_PIXELS));
    }
    cells
}

fn pixels_of(shape: CellBox, colour: &RgbImage) -> impl Iterator<Item = (u32, u32)> {
    let end = |cell: usize, limit: u32| ((cell as u32 + 1) * CELL_PIXELS).min(limit);
    let (right, bottom) = (end(shape.right, colour.width()), end(shape.bottom, colour.height()));
    let (left, top) = (shape.left as u32 * CELL_PIXELS, shape.top as u32 * CELL_PIXELS);
    (top..bottom).flat_map(move |y| (left..right).map(move |x| (x, y)))
}

fn strongest([red, green, blue]: [u8; 3]) -> u8 {
    red.max(green).max(blue)
}

fn is_coloured(rgb: [u8; 3]) -> bool {
    colourfulness(rgb) >= MIN_COLOUR
}

/// Levels between the strongest and the weakest channel.
fn colourfulness(rgb: [u8; 3]) -> u8 {
    let [red, green, blue] = rgb;
    strongest(rgb) - red.min(green).min(blue)
}

#[cfg(test)]
mod tests {
    use image::Rgb;
    use image::imageops::grayscale;

    use super::*;

    const RED: Rgb<u8> = Rgb([215, 40, 45]);
    const BLACK: Rgb<u8> = Rgb([20, 20, 20]);

    /// A white page at 300 dpi on which `ink` draws.
    fn page(ink: impl Fn(u32, u32) -> Option<Rgb<u8>>) -> RgbImage {
        RgbImage::from_fn(800, 800, |x, y| ink(x, y).unwrap_or(Rgb([255; 3])))
    }

    fn in_ring(x: u32, y: u32) -> bool {
        let distance = ((f64::from(x) - 400.0).powi(2) + (f64::from(y) - 400.0).powi(2)).sqrt();
        (180.0..200.0).contains(&distance)
    }

    fn in_line_of_print(x: u32, y: u32) -> bool {
        (380..420).contains(&y) && x % 20 < 8
    }

    fn lifted(colour: &RgbImage) -> GrayImage {
        let mut grey = grayscale(colour);
        lift_stamps(&mut grey, colour, 300);
        grey
    }

    #[test]
    fn a_seal_over_print_becomes_paper_and_the_print_stays_dark() {
        let grey = lifted(&page(|x, y| match (in_line_of_print(x, y), in_ring(x, y)) {
            (true, _) => Some(BLACK),
            (false, true) => Some(RED),
            (false, false) => None,
        }));
        assert_eq!(grey.get_pixel(400, 210).0[0], 255);
        assert_eq!(grey.get_pixel(402, 400).0[0], 20);
    }

    #[test]
    fn the_blurred_edges_of_a_seal_go_with_it_and_print_under_it_stays() {
        let paper = Rgb([235; 3]);
        let colour = page(|x, y| match (in_line_of_print(x, y), in_ring(x, y), in_ring(x + 2, y)) {
            (true, false, _) => Some(BLACK),
            (true, true, _) => Some(Rgb([88, 7, 12])),
            (false, true, _) => Some(Rgb([180, 28, 40])),
            (false, false, true) => Some(Rgb([190, 160, 158])),
            (false, false, false) => Some(paper),
        });
        let grey = lifted(&colour);
        assert_eq!([grey.get_pixel(400, 210).0[0], grey.get_pixel(199, 395).0[0]], [235, 235]);
        assert!(grey.get_pixel(205, 400).0[0] < 120, "print under the ring");
    }

    #[test]
    fn a_seal_on_bare_paper_stays_readable() {
        let colour = page(|x, y| in_ring(x, y).then_some(RED));
        assert_eq!(lifted(&colour), grayscale(&colour));
    }

    #[test]
    fn coloured_print_between_black_print_stays() {
        let colour = page(|x, y| {
            let in_letter = x % 20 < 8 && y % 60 < 40;
            in_letter.then_some(if y % 120 < 60 { RED } else { BLACK })
        });
        assert_eq!(lifted(&colour), grayscale(&colour));
    }

    #[test]
    fn a_frame_around_half_a_page_is_no_stamp() {
        let wide =
            RgbImage::from_fn(2400, 800, |x, y| match (in_line_of_print(x, y), !(10..=2390).contains(&x) || y < 10) {
                (true, _) => BLACK,
                (false, true) => RED,
                (false, false) => Rgb([255; 3]),
            });
        assert_eq!(lifted(&wide), grayscale(&wide));
    }

    #[test]
    fn pages_smaller_than_a_cell_have_no_stamps() {
        let colour = RgbImage::from_pixel(3, 3, RED);
        assert_eq!(lifted(&colour), grayscale(&colour));
    }
}
