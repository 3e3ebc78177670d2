//! Image files: JPEG, PNG, BMP, GIF, WebP (one page) and TIFF (all pages); also the encoded pictures inside documents.
//!
//! Width × height is checked before anything is decoded, and what decoding may allocate is bounded: a picture of a few
//! kilobytes can claim to be gigabytes.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Seek};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use exif::{In, Tag};
use image::imageops::FilterType;
use image::metadata::Orientation;
use image::{DynamicImage, GrayImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits, Rgb, RgbImage};

use super::metadata;
use super::print_size::at_reading_size;
use super::resolution::{Depth, bounded_scale, pixel_limit, reading_scale, wanted_dpi};
use super::tiff_pages::TiffFile;
use crate::document::{Failure, MetadataValue, Reason};
use crate::ocr::Raster;
use crate::ocr::page_look::has_readable_lines;
use crate::ocr::raster::is_bilevel;
use crate::ocr::stamp_ink::lift_stamps;
use crate::pool::protocol::Effort;

/// Bytes that decoding one image may take; half of the address space that a child has.
pub const MAX_DECODED_BYTES: usize = 512 * 1024 * 1024;

/// Resolutions across and down that differ by more than this are a fax's: the page is stretched before it is read.
const MAX_PIXEL_ASPECT: f64 = 1.2;

const WHITE: u32 = 255;

/// Where an image's bytes are.
#[derive(Clone, Debug)]
pub enum ImageSource {
    File(PathBuf),
    /// A picture inside a document.
    Bytes(Arc<[u8]>),
}

/// What decoders read from.
pub trait SeekableRead: BufRead + Seek {}

impl<T: BufRead + Seek> SeekableRead for T {}

impl ImageSource {
    /// From its beginning.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn reader(&self) -> io::Result<Box<dyn SeekableRead>> {
        Ok(match self {
            ImageSource::File(path) => Box::new(BufReader::new(File::open(path)?)),
            ImageSource::Bytes(bytes) => Box::new(Cursor::new(Arc::clone(bytes))),
        })
    }
}

impl From<&Path> for ImageSource {
    fn from(path: &Path) -> Self {
        ImageSource::File(path.to_path_buf())
    }
}

/// An open image file.
pub enum ImageFile {
    Single { source: ImageSource, format: ImageFormat },
    Tiff(Box<TiffFile>),
}

/// A decoded page, upright, not yet on white.
struct DecodedPage {
    image: DynamicImage,
    dpi: Option<(f64, f64)>,
}

impl ImageFile {
    /// Opens an image whose format was told by its content.
    ///
    /// # Errors
    /// `corrupt`, `unsupported_format`, or `too_many_pixels` when a single image claims more than `max_pixels`.
    pub fn open(source: impl Into<ImageSource>, format: ImageFormat, max_pixels: u64) -> Result<ImageFile, Failure> {
        let source = source.into();
        if format == ImageFormat::Tiff {
            return TiffFile::open(&source).map(|tiff| ImageFile::Tiff(Box::new(tiff)));
        }
        let (width, height) = decoder(&source, format)?.dimensions();
        check_pixels(width, height, max_pixels)?;
        Ok(ImageFile::Single { source, format })
    }

    pub fn page_count(&self) -> u32 {
        match self {
            ImageFile::Single { .. } => 1,
            ImageFile::Tiff(tiff) => tiff.page_count(),
        }
    }

    /// Width, height, and what a camera or scanner wrote down.
    pub fn metadata(&self) -> BTreeMap<String, MetadataValue> {
        let mut values = BTreeMap::new();
        let ImageFile::Single { source, format } = self else {
            return values;
        };
        let Ok(mut decoder) = decoder(source, *format) else {
            return values;
        };
        let (width, height) = decoder.dimensions();
        metadata::insert_number(&mut values, "width", f64::from(width));
        metadata::insert_number(&mut values, "height", f64::from(height));
        if let Some(exif) =
            decoder.exif_metadata().ok().flatten().and_then(|raw| exif::Reader::new().read_raw(raw).ok())
        {
            insert_exif(&mut values, &exif);
        }
        values
    }

    /// A page in grey on white, upright, at the resolution at which it is read best; `number` from 1.
    ///
    /// # Errors
    /// Like [`ImageFile::open`].
    pub fn raster(
        &mut self,
        number: u32,
        target_dpi: u32,
        max_pixels: u64,
        effort: Effort,
        may_scale: bool,
    ) -> Result<Raster, Failure> {
        let page = self.decode(number, max_pixels)?;
        let image = on_white(page.image);
        let mut grey = image.to_luma8();
        let (width, height) = (f64::from(grey.width()), f64::from(grey.height()));
        let claimed_dpi = page.dpi.map(|(across, down)| across.min(down));
        let wanted = wanted_dpi(target_dpi, effort);
        let reading = reading_scale(grey.width().max(grey.height()), claimed_dpi, wanted, depth_of(&grey));
        let scale = if may_scale || effort == Effort::Reduced { reading.scale } else { 1.0 };
        let scale = bounded_scale(width, height, scale, pixel_limit(max_pixels, effort));
        let scanned_dpi = (reading.dpi / reading.scale).round() as u32;
        if let DynamicImage::ImageRgb8(colour) = image
            && may_scale
        {
            lift_stamps(&mut grey, &colour, scanned_dpi);
        }
        let raster = Raster::new(grey, scanned_dpi);
        if claimed_dpi.is_none() && scale > 1.0 && has_readable_lines(&raster) {
            return Ok(raster.with_dpi(reading.dpi.round() as u32));
        }
        let raster = if (scale - 1.0).abs() < f64::EPSILON { raster } else { raster.scaled(scale) };
        Ok(match claimed_dpi {
            Some(claimed_dpi) if may_scale => at_reading_size(raster, claimed_dpi * scale, wanted),
            _ => raster,
        })
    }

    /// The first page in colour on white, upright.
    ///
    /// # Errors
    /// Like [`ImageFile::open`].
    pub fn first_page_in_colour(&mut self, max_pixels: u64) -> Result<RgbImage, Failure> {
        self.decode(1, max_pixels).map(|page| on_white(page.image).into_rgb8())
    }

    fn decode(&mut self, number: u32, max_pixels: u64) -> Result<DecodedPage, Failure> {
        match self {
            ImageFile::Single { source, format } => decode_single(source, *format, max_pixels),
            ImageFile::Tiff(tiff) => {
                let page = tiff.page(number, max_pixels)?;
                let mut image = page.image;
                let mut dpi = page.dpi;
                if let Some((across, down)) =
                    dpi.filter(|(across, down)| across.max(*down) / across.min(*down) > MAX_PIXEL_ASPECT)
                {
                    image = with_square_pixels(image, across, down, max_pixels);
                    dpi = Some((across.max(down), across.max(down)));
                }
                image.apply_orientation(Orientation::from_exif(page.orientation).unwrap_or(Orientation::NoTransforms));
                Ok(DecodedPage { image, dpi })
            }
        }
    }
}

fn decoder(source: &ImageSource, format: ImageFormat) -> Result<impl ImageDecoder + use<>, Failure> {
    let bytes = source
        .reader()
        .map_err(|error| Failure::new(Reason::Corrupt, format!("The image could not be read: {error}.")))?;
    let mut reader = ImageReader::with_format(bytes, format);
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_DECODED_BYTES as u64);
    reader.limits(limits);
    reader.into_decoder().map_err(|error| failure_of(&error))
}

fn decode_single(source: &ImageSource, format: ImageFormat, max_pixels: u64) -> Result<DecodedPage, Failure> {
    let mut decoder = decoder(source, format)?;
    let (width, height) = decoder.dimensions();
    check_pixels(width, height, max_pixels)?;
    if decoder.total_bytes() > MAX_DECODED_BYTES as u64 {
        return Err(too_many_bytes(width, height));
    }
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let mut image = DynamicImage::from_decoder(decoder).map_err(|error| failure_of(&error))?;
    image.apply_orientation(orientation);
    Ok(DecodedPage { image, dpi: None })
}

/// Stretches a fax to as many dots down as across, or the other way round.
fn with_square_pixels(image: DynamicImage, across: f64, down: f64, max_pixels: u64) -> DynamicImage {
    let finer = across.max(down);
    let width = f64::from(image.width()) * finer / across;
    let height = f64::from(image.height()) * finer / down;
    let scale = bounded_scale(width, height, 1.0, max_pixels);
    let pixels = |length: f64| (length * scale).round().max(1.0) as u32;
    // Rows of black and white are repeated: shades between them would be no better than the scan.
    let filter = if image.as_luma8().is_some_and(is_bilevel) { FilterType::Nearest } else { FilterType::Triangle };
    image.resize_exact(pixels(width), pixels(height), filter)
}

fn depth_of(pixels: &GrayImage) -> Depth {
    if is_bilevel(pixels) { Depth::Bilevel } else { Depth::Shades }
}

/// Transparency becomes white paper.
fn on_white(image: DynamicImage) -> DynamicImage {
    if !image.color().has_alpha() {
        return image;
    }
    let transparent = image.into_rgba8();
    let flat = RgbImage::from_fn(transparent.width(), transparent.height(), |x, y| {
        let [red, green, blue, alpha] = transparent.get_pixel(x, y).0;
        let alpha = u32::from(alpha);
        Rgb([red, green, blue].map(|value| ((u32::from(value) * alpha + WHITE * (255 - alpha)) / 255) as u8))
    });
    DynamicImage::from(flat)
}

fn insert_exif(values: &mut BTreeMap<String, MetadataValue>, exif: &exif::Exif) {
    let text = |tag: Tag| match &exif.get_field(tag, In::PRIMARY)?.value {
        exif::Value::Ascii(lines) => Some(String::from_utf8_lossy(&lines.concat()).into_owned()),
        _ => None,
    };
    for (tag, name) in [
        (Tag::ImageDescription, "description"),
        (Tag::Artist, "author"),
        (Tag::Make, "camera_make"),
        (Tag::Model, "camera_model"),
        (Tag::Software, "creator"),
    ] {
        if let Some(value) = text(tag) {
            metadata::insert_text(values, name, &value);
        }
    }
    if let Some(date) = text(Tag::DateTimeOriginal).as_deref().and_then(metadata::exif_date) {
        metadata::insert_text(values, "creation_date", &date);
    }
}

fn check_pixels(width: u32, height: u32, max_pixels: u64) -> Result<(), Failure> {
    if u64::from(width) * u64::from(height) > max_pixels {
        return Err(too_many_pixels(width, height, max_pixels));
    }
    Ok(())
}

/// The failure that says how large an image is and how large it may be.
pub fn too_many_pixels(width: u32, height: u32, max_pixels: u64) -> Failure {
    Failure::new(
        Reason::TooManyPixels,
        format!(
            "The image has {width} × {height} = {} pixels; at most {max_pixels} are decoded.",
            u64::from(width) * u64::from(height)
        ),
    )
}

fn too_many_bytes(width: u32, height: u32) -> Failure {
    Failure::new(
        Reason::TooManyPixels,
        format!(
            "The image of {width} × {height} pixels needs more than {} MB when decoded.",
            MAX_DECODED_BYTES / (1024 * 1024)
        ),
    )
}

fn failure_of(error: &ImageError) -> Failure {
    match error {
        ImageError::Limits(limit) => {
            Failure::new(Reason::TooManyPixels, format!("The image is too large to be decoded: {limit}."))
        }
        ImageError::Unsupported(what) => Failure::new(
            Reason::UnsupportedFormat,
            format!("The image is stored in a way that is not supported: {what}."),
        ),
        other => Failure::new(Reason::Corrupt, format!("The image is damaged: {other}.")),
    }
}

#[cfg(test)]
mod tests {
    use image::{GrayImage, Luma, Rgba, RgbaImage};

    use super::*;

    const MAX_PIXELS: u64 = 1_000_000;

    fn saved(image: &DynamicImage, format: ImageFormat) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().expect("temporary file");
        image.save_with_format(file.path(), format).expect("save");
        file
    }

    #[test]
    fn transparency_becomes_white() {
        let image = RgbaImage::from_pixel(4, 4, Rgba([0, 0, 0, 0]));
        let file = saved(&DynamicImage::from(image), ImageFormat::Png);
        let mut opened = ImageFile::open(file.path(), ImageFormat::Png, MAX_PIXELS).expect("open");
        assert!(opened.first_page_in_colour(MAX_PIXELS).expect("decode").iter().all(|value| *value == 255));
    }

    #[test]
    fn an_image_over_the_limit_is_not_decoded() {
        let file = saved(&DynamicImage::from(GrayImage::from_pixel(300, 200, Luma([9]))), ImageFormat::Png);
        let failure = ImageFile::open(file.path(), ImageFormat::Png, 59_999).err().expect("too many pixels");
        assert_eq!(failure.reason, Reason::TooManyPixels);
        assert!(failure.detail.contains("300 × 200 = 60000"), "{}", failure.detail);
    }

    #[test]
    fn one_pixel_is_an_image() {
        let file = saved(&DynamicImage::from(GrayImage::from_pixel(1, 1, Luma([0]))), ImageFormat::Bmp);
        let mut opened = ImageFile::open(file.path(), ImageFormat::Bmp, MAX_PIXELS).expect("open");
        let raster = opened.raster(1, 300, MAX_PIXELS, Effort::Normal, true).expect("raster");
        assert!(raster.width() >= 1 && raster.height() >= 1);
    }

    #[test]
    fn a_cut_off_image_is_corrupt() {
        let image = GrayImage::from_fn(200, 200, |x, y| Luma([(x * 7 + y * 13) as u8]));
        let file = saved(&DynamicImage::from(image), ImageFormat::Png);
        let length = file.as_file().metadata().expect("metadata").len();
        file.as_file().set_len(length / 2).expect("cut");
        let failure = ImageFile::open(file.path(), ImageFormat::Png, MAX_PIXELS)
            .and_then(|mut opened| opened.raster(1, 300, MAX_PIXELS, Effort::Normal, true).map(drop));
        assert_eq!(failure.expect_err("cut off").reason, Reason::Corrupt);
    }

    #[test]
    fn small_images_are_enlarged_unless_told_not_to() {
        let file = saved(&DynamicImage::from(GrayImage::from_pixel(400, 50, Luma([255]))), ImageFormat::Png);
        let mut opened = ImageFile::open(file.path(), ImageFormat::Png, MAX_PIXELS).expect("open");
        assert_eq!(opened.raster(1, 300, MAX_PIXELS, Effort::Normal, true).expect("raster").width(), 1200);
        assert_eq!(opened.raster(1, 300, MAX_PIXELS, Effort::Normal, false).expect("raster").width(), 400);
    }

    /// A picture in a document, say, that was scanned at 300 dpi and is half a page high.
    #[test]
    fn a_small_image_with_lines_that_can_be_read_is_not_enlarged() {
        let lines = GrayImage::from_fn(1_000, 900, |x, y| Luma([if y % 88 < 44 && x % 16 < 8 { 0 } else { 255 }]));
        let file = saved(&DynamicImage::from(lines), ImageFormat::Png);
        let mut opened = ImageFile::open(file.path(), ImageFormat::Png, MAX_PIXELS).expect("open");
        let raster = opened.raster(1, 300, MAX_PIXELS, Effort::Normal, true).expect("raster");
        assert_eq!((raster.width(), raster.dpi()), (1_000, 300));
    }

    #[test]
    fn a_fax_is_stretched_to_square_pixels() {
        let stretched = with_square_pixels(DynamicImage::from(GrayImage::new(204, 98)), 204.0, 98.0, MAX_PIXELS);
        assert_eq!((stretched.width(), stretched.height()), (204, 204));
    }

    /// One sign, in eight orientations and as GIF, WebP, CMYK with Adobe's inverted inks, 16-bit grey, on a transparent
    /// ground and in two colours: people see the same thumbnail of all.
    #[test]
    fn every_form_of_a_picture_has_the_same_thumbnail() {
        let folder = Path::new("tests/fixtures/images");
        let seen = |name: &str, format: ImageFormat| {
            let mut file = ImageFile::open(folder.join(name).as_path(), format, MAX_PIXELS).expect("open");
            let picture = file.first_page_in_colour(MAX_PIXELS).expect("a page");
            let jpeg = super::super::thumbnail::encode(&picture, 200, 200, 85).expect("a thumbnail");
            image::load_from_memory_with_format(&jpeg, ImageFormat::Jpeg).expect("a JPEG").into_luma8()
        };
        let expected = seen("sign.bmp", ImageFormat::Bmp);
        let mut others: Vec<(String, ImageFormat)> =
            (1..=8).map(|number| (format!("orientation-{number}.jpg"), ImageFormat::Jpeg)).collect();
        others.extend([
            ("cmyk.jpg".to_owned(), ImageFormat::Jpeg),
            ("alpha.png".to_owned(), ImageFormat::Png),
            ("grey16.png".to_owned(), ImageFormat::Png),
            ("sign.gif".to_owned(), ImageFormat::Gif),
            ("sign.webp".to_owned(), ImageFormat::WebP),
        ]);
        for (name, format) in others {
            let found = seen(&name, format);
            assert_eq!(found.dimensions(), expected.dimensions(), "{name}");
            let difference: u64 =
                found.iter().zip(expected.iter()).map(|(found, expected)| u64::from(found.abs_diff(*expected))).sum();
            assert!(difference < 10 * expected.len() as u64, "{name}: {difference}");
        }
    }
}
