//! Pages that lie askew are turned upright before they are read: at 5 degrees the engine mixes up neighbouring lines
//! (CER .091 instead of .002 on handbook-b, which it reports with a confidence of 87).
//!
//! The angle is the one at which rows of ink are told best from the gaps between them: the sum of squared differences
//! of neighbouring rows of the page's profile is largest there. Small angles are left alone: the engine follows lines
//! that slope a little, and turning a page blurs it.

use image::{GrayImage, Luma};

use super::ink_cells::InkCells;
use super::raster::{MAX_OCR_PIXELS, Raster};

/// Angles looked at, in degrees to either side; scanners feed no page worse.
const MAX_ANGLE: f64 = 8.0;
const COARSE_STEP: f64 = 0.5;
const FINE_STEP: f64 = 0.1;

/// Smaller angles are left to the engine.
const MIN_ANGLE: f64 = 1.0;

/// The profile must be clearly sharper at the angle than it is upright; on vertical writing, drawings and photos it is not.
const CLEARLY_SHARPER: f64 = 1.5;

/// Fewer inked cells than this are no lines of writing.
const MIN_INKED_CELLS: usize = 500;

/// The page, whose ink is given, turned upright; `None` when it is so already, or when nobody can tell.
pub fn straightened(raster: &Raster, ink: &InkCells) -> Option<Raster> {
    let angle = skew_degrees(ink)?;
    let turned = turned(raster, angle);
    (turned.pixel_count() <= MAX_OCR_PIXELS).then_some(turned)
}

/// By how many degrees lines fall towards the right (clockwise is positive), where that is worth correcting.
fn skew_degrees(ink: &InkCells) -> Option<f64> {
    let mut inked_rows = vec![Vec::new(); ink.columns()];
    for (column, row) in ink.positions() {
        inked_rows[column].push(row);
    }
    if inked_rows.iter().map(Vec::len).sum::<usize>() < MIN_INKED_CELLS {
        return None;
    }
    let sharpness = |angle: f64| profile_sharpness(&inked_rows, ink.rows(), angle);
    let coarse = sharpest(0.0, MAX_ANGLE, COARSE_STEP, &sharpness);
    let angle = sharpest(coarse, COARSE_STEP, FINE_STEP, &sharpness);
    (angle.abs() >= MIN_ANGLE && sharpness(angle) >= sharpness(0.0) * CLEARLY_SHARPER).then_some(angle)
}

/// The best of the angles around `centre`.
fn sharpest(centre: f64, reach: f64, step: f64, sharpness: &dyn Fn(f64) -> f64) -> f64 {
    let steps = (reach / step).round() as i32;
    let mut best = (centre, sharpness(centre));
    for number in -steps..=steps {
        let angle = centre + f64::from(number) * step;
        let value = sharpness(angle);
        if value > best.1 {
            best = (angle, value);
        }
    }
    best.0
}

/// How clearly lines show in the profile of a page that is turned back by `angle` degrees. Of each column it is given the
/// rows with ink. By columns, because neighbours of a row count up the same level, each after the last.
fn profile_sharpness(inked_rows: &[Vec<usize>], rows: usize, angle: f64) -> f64 {
    let slope = angle.to_radians().tan();
    // Far enough that no row falls out above or below.
    let margin = (inked_rows.len() as f64 * MAX_ANGLE.to_radians().tan() * 1.2).ceil();
    let mut profile = vec![0_u32; (rows as f64 + 2.0 * margin) as usize + 2];
    for (column, rows) in inked_rows.iter().enumerate() {
        let shift = (margin - column as f64 * slope) as usize;
        for row in rows {
            if let Some(count) = profile.get_mut(row + shift) {
                *count += 1;
            }
        }
    }
    profile.windows(2).map(|pair| (f64::from(pair[0]) - f64::from(pair[1])).powi(2)).sum()
}

/// Turned back by `angle` degrees on a canvas that holds the whole page, the corners filled with paper.
fn turned(raster: &Raster, angle: f64) -> Raster {
    let (sine, cosine) = angle.to_radians().sin_cos();
    let (width, height) = (f64::from(raster.width()), f64::from(raster.height()));
    let new_width = (width * cosine + height * sine.abs()).ceil();
    let new_height = (height * cosine + width * sine.abs()).ceil();
    let paper = raster.median_brightness();
    let pixels = GrayImage::from_fn(new_width as u32, new_height as u32, |x, y| {
        let (right, down) = (f64::from(x) - new_width / 2.0, f64::from(y) - new_height / 2.0);
        let source_x = right * cosine - down * sine + width / 2.0;
        let source_y = right * sine + down * cosine + height / 2.0;
        Luma([between_pixels(raster, source_x, source_y).unwrap_or(paper)])
    });
    Raster::new(pixels, raster.dpi())
}

/// The brightness at a place between four pixels; `None` outside of the page.
fn between_pixels(raster: &Raster, x: f64, y: f64) -> Option<u8> {
    let (last_x, last_y) = (raster.width().checked_sub(2)?, raster.height().checked_sub(2)?);
    if x < 0.0 || y < 0.0 || x >= f64::from(last_x + 1) || y >= f64::from(last_y + 1) {
        return None;
    }
    let (left, top) = (x as usize, y as usize);
    let (across, down) = (x - left as f64, y - top as f64);
    let width = raster.width() as usize;
    let at = |column: usize, row: usize| f64::from(raster.bytes()[row * width + column]);
    let upper = at(left, top) * (1.0 - across) + at(left + 1, top) * across;
    let lower = at(left, top + 1) * (1.0 - across) + at(left + 1, top + 1) * across;
    Some((upper * (1.0 - down) + lower * down).round() as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines of marks that fall by `degrees` towards the right.
    fn page_of_lines(degrees: f64) -> Raster {
        let slope = degrees.to_radians().tan();
        let pixels = GrayImage::from_fn(1200, 1600, |x, y| {
            let level = f64::from(y) - f64::from(x) * slope;
            let is_ink = level.rem_euclid(60.0) < 28.0 && (x / 9) % 3 != 0 && (100..1100).contains(&x);
            Luma([if is_ink { 20 } else { 245 }])
        });
        Raster::new(pixels, 300)
    }

    fn skew_of(page: &Raster) -> Option<f64> {
        skew_degrees(&InkCells::of(page))
    }

    fn turned_upright(page: &Raster) -> Option<Raster> {
        straightened(page, &InkCells::of(page))
    }

    #[test]
    fn the_angle_of_lines_is_found_to_either_side() {
        for degrees in [-5.0, -2.0, 2.0, 5.0] {
            let found = skew_of(&page_of_lines(degrees)).expect("askew");
            assert!((found - degrees).abs() <= 0.2, "{degrees}: {found}");
        }
    }

    #[test]
    fn a_page_turned_upright_needs_no_more_turning() {
        let straight = turned_upright(&page_of_lines(4.0)).expect("askew");
        assert_eq!(skew_of(&straight), None);
        assert!(straight.width() > 1200 && straight.height() > 1600, "nothing is cut off");
    }

    #[test]
    fn straight_pages_and_pages_without_lines_stay_as_they_are() {
        assert_eq!(skew_of(&page_of_lines(0.0)), None);
        assert_eq!(skew_of(&page_of_lines(0.5)), None);
        assert_eq!(skew_of(&Raster::new(GrayImage::from_pixel(1200, 1600, Luma([255])), 300)), None);
        assert_eq!(skew_of(&Raster::new(GrayImage::new(1, 1), 300)), None);
    }
}
