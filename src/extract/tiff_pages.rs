//! TIFF with all its pages: scanners and fax servers put whole documents into one file.
//!
//! The `image` crate opens only a TIFF's first page, so this speaks to the `tiff` crate directly; what that does not
//! read either is in [`super::tiff_samples`].

use image::{DynamicImage, GrayImage, ImageBuffer, Luma, RgbImage};
use tiff::decoder::{Decoder, DecodingResult, Limits};
use tiff::tags::{ResolutionUnit, Tag};
use tiff::{ColorType, TiffError, TiffFormatError};

use super::image_file::{ImageSource, MAX_DECODED_BYTES, SeekableRead, too_many_pixels};
use super::tiff_samples::SampleLayout;
use crate::document::{Failure, Reason};

/// Directories followed; a chain that is longer is a mistake or an attack.
const MAX_DIRECTORIES: usize = 20_000;

/// NewSubfileType: the image is a smaller version of another one in the file (TIFF 6.0, section 8).
const SUBFILE_REDUCED: u32 = 1;

const CENTIMETRES_PER_INCH: f64 = 2.54;

/// Resolutions outside of this are placeholders.
const PLAUSIBLE_DPI: std::ops::RangeInclusive<f64> = 40.0..=5_000.0;

/// An open TIFF.
pub struct TiffFile {
    decoder: Decoder<Box<dyn SeekableRead>>,
    /// The directory of each page.
    pages: Vec<usize>,
}

/// A decoded page.
pub struct TiffPage {
    pub image: DynamicImage,
    /// Dots per inch across and down; faxes have half as many down.
    pub dpi: Option<(f64, f64)>,
    /// As in Exif, 1–8.
    pub orientation: u8,
}

impl TiffFile {
    /// Opens the file and counts its pages.
    ///
    /// # Errors
    /// `corrupt` or `unsupported_format` when not even the first directory can be read.
    pub fn open(source: &ImageSource) -> Result<TiffFile, Failure> {
        let bytes = source
            .reader()
            .map_err(|error| Failure::new(Reason::Corrupt, format!("The TIFF image could not be read: {error}.")))?;
        let mut limits = Limits::default();
        limits.decoding_buffer_size = MAX_DECODED_BYTES;
        limits.intermediate_buffer_size = MAX_DECODED_BYTES;
        let decoder = Decoder::new(bytes).map_err(|error| failure_of(&error))?;
        let mut opened = TiffFile { decoder: decoder.with_limits(limits), pages: Vec::new() };
        opened.pages = opened.find_pages();
        if opened.pages.is_empty() {
            return Err(Failure::new(Reason::Corrupt, "The TIFF image has no pages."));
        }
        Ok(opened)
    }

    pub fn page_count(&self) -> u32 {
        self.pages.len() as u32
    }

    fn find_pages(&mut self) -> Vec<usize> {
        let mut pages = Vec::new();
        for directory in 0..MAX_DIRECTORIES {
            match self.decoder.seek_to_image(directory) {
                Ok(()) => {
                    let kind = self.decoder.find_tag_unsigned::<u32>(Tag::NewSubfileType).ok().flatten().unwrap_or(0);
                    if kind & SUBFILE_REDUCED == 0 {
                        pages.push(directory);
                    }
                }
                // The end of the chain, or it is cut off.
                Err(TiffError::FormatError(TiffFormatError::ImageFileDirectoryNotFound) | TiffError::IoError(_)) => {
                    break;
                }
                // A page that cannot be read is a page all the same, and says so when its turn comes.
                Err(_) => pages.push(directory),
            }
        }
        pages
    }

    /// Decodes a page; `number` from 1.
    ///
    /// # Errors
    /// `too_many_pixels`, `unsupported_format` for compressions and colours that nobody here reads, `corrupt`.
    pub fn page(&mut self, number: u32, max_pixels: u64) -> Result<TiffPage, Failure> {
        let directory = (number as usize)
            .checked_sub(1)
            .and_then(|index| self.pages.get(index))
            .ok_or_else(|| Failure::new(Reason::Corrupt, format!("The TIFF image has no page {number}.")))?;
        self.decoder.seek_to_image(*directory).map_err(|error| failure_of(&error))?;
        let (width, height) = self.decoder.dimensions().map_err(|error| failure_of(&error))?;
        if u64::from(width) * u64::from(height) > max_pixels {
            return Err(too_many_pixels(width, height, max_pixels));
        }
        let dpi = self.resolution();
        let orientation = self.decoder.find_tag_unsigned::<u8>(Tag::Orientation).ok().flatten().unwrap_or(1);
        let image = match SampleLayout::of(&mut self.decoder) {
            Some(layout) => layout.decode(self.decoder.inner())?,
            None => self.decode(width, height)?,
        };
        Ok(TiffPage { image, dpi, orientation })
    }

    /// Dots per inch across and down, where the file tells something plausible.
    fn resolution(&mut self) -> Option<(f64, f64)> {
        let unit = self.decoder.find_tag_unsigned::<u16>(Tag::ResolutionUnit).ok().flatten();
        let per_inch = match unit.and_then(ResolutionUnit::from_u16) {
            Some(ResolutionUnit::Centimeter) => CENTIMETRES_PER_INCH,
            Some(ResolutionUnit::None) => return None,
            _ => 1.0,
        };
        let across = self.decoder.get_tag(Tag::XResolution).ok()?.into_f64().ok()? * per_inch;
        let down = self.decoder.get_tag(Tag::YResolution).ok()?.into_f64().ok()? * per_inch;
        (PLAUSIBLE_DPI.contains(&across) && PLAUSIBLE_DPI.contains(&down)).then_some((across, down))
    }

    fn decode(&mut self, width: u32, height: u32) -> Result<DynamicImage, Failure> {
        let color = self.decoder.colortype().map_err(|error| failure_of(&error))?;
        let mut samples = DecodingResult::U8(Vec::new());
        let layout = self.decoder.read_image_to_buffer(&mut samples).map_err(|error| failure_of(&error))?;
        if layout.planes > 1 {
            return Err(unsupported(&format!("{color:?} in separate planes")));
        }
        let image = match (color, samples) {
            // From JPEG; all others are read by `SampleLayout`.
            (ColorType::Gray(8), DecodingResult::U8(grey)) => {
                GrayImage::from_raw(width, height, grey).map(DynamicImage::from)
            }
            (ColorType::Gray(16), DecodingResult::U16(grey)) => {
                ImageBuffer::<Luma<u16>, _>::from_raw(width, height, grey).map(DynamicImage::from)
            }
            // The decoder does not tell grey with transparency from other pairs; nobody stores anything else in pairs.
            (
                ColorType::GrayA(8) | ColorType::Multiband { bit_depth: 8, num_samples: 2 },
                DecodingResult::U8(bytes),
            ) => ImageBuffer::<image::LumaA<u8>, _>::from_raw(width, height, bytes).map(DynamicImage::from),
            (ColorType::RGB(8), DecodingResult::U8(bytes)) => {
                RgbImage::from_raw(width, height, bytes).map(DynamicImage::from)
            }
            (ColorType::RGB(16), DecodingResult::U16(values)) => {
                ImageBuffer::<image::Rgb<u16>, _>::from_raw(width, height, values).map(DynamicImage::from)
            }
            (ColorType::RGBA(8), DecodingResult::U8(bytes)) => {
                image::RgbaImage::from_raw(width, height, bytes).map(DynamicImage::from)
            }
            (ColorType::RGBA(16), DecodingResult::U16(values)) => {
                ImageBuffer::<image::Rgba<u16>, _>::from_raw(width, height, values).map(DynamicImage::from)
            }
            (ColorType::YCbCr(8), DecodingResult::U8(bytes)) => converted(width, height, &bytes, ycbcr_to_rgb),
            (ColorType::CMYK(8), DecodingResult::U8(bytes)) => converted(width, height, &bytes, cmyk_to_rgb),
            (color, _) => return Err(unsupported(&format!("{color:?}"))),
        };
        image.ok_or_else(|| Failure::new(Reason::Corrupt, "The TIFF image ends too early."))
    }
}

fn converted<const N: usize>(
    width: u32,
    height: u32,
    bytes: &[u8],
    to_rgb: impl Fn([u8; N]) -> [u8; 3],
) -> Option<DynamicImage> {
    let (pixels, _) = bytes.as_chunks::<N>();
    let rgb = pixels.iter().flat_map(|pixel| to_rgb(*pixel)).collect();
    RgbImage::from_raw(width, height, rgb).map(DynamicImage::from)
}

/// ITU-R BT.601, as JPEG has it.
fn ycbcr_to_rgb([luma, blue, red]: [u8; 3]) -> [u8; 3] {
    let (luma, blue, red) = (f32::from(luma), f32::from(blue) - 128.0, f32::from(red) - 128.0);
    [luma + 1.402 * red, luma - 0.344_136 * blue - 0.714_136 * red, luma + 1.772 * blue].map(|value| value as u8)
}

fn cmyk_to_rgb([cyan, magenta, yellow, black]: [u8; 4]) -> [u8; 3] {
    [cyan, magenta, yellow].map(|ink| ((255 - u32::from(ink)) * (255 - u32::from(black)) / 255) as u8)
}

fn unsupported(what: &str) -> Failure {
    Failure::new(Reason::UnsupportedFormat, format!("The TIFF image is stored in a way that is not supported: {what}."))
}

fn failure_of(error: &TiffError) -> Failure {
    match error {
        TiffError::UnsupportedError(what) => unsupported(&what.to_string()),
        TiffError::LimitsExceeded => Failure::new(
            Reason::TooManyPixels,
            format!("The TIFF image needs more than {} MB when decoded.", MAX_DECODED_BYTES / (1024 * 1024)),
        ),
        other => Failure::new(Reason::Corrupt, format!("The TIFF image is damaged: {other}.")),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use tiff::encoder::{TiffEncoder, colortype};

    use super::*;

    fn file_with(write: impl Fn(&mut TiffEncoder<&mut File>)) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().expect("temporary file");
        let mut encoder = TiffEncoder::new(file.as_file_mut()).expect("encoder");
        write(&mut encoder);
        file
    }

    #[test]
    fn every_page_is_found_and_decoded() {
        let file = file_with(|encoder| {
            encoder.write_image::<colortype::Gray8>(2, 1, &[0, 200]).expect("page 1");
            encoder.write_image::<colortype::RGB8>(1, 1, &[10, 20, 30]).expect("page 2");
            encoder.write_image::<colortype::Gray16>(1, 1, &[65_535]).expect("page 3");
        });
        let mut opened = TiffFile::open(&ImageSource::from(file.path())).expect("open");
        assert_eq!(opened.page_count(), 3);
        assert_eq!(opened.page(2, 10).expect("page 2").image.into_rgb8().into_raw(), [10, 20, 30]);
        assert_eq!(opened.page(1, 10).expect("page 1").image.into_luma8().into_raw(), [0, 200]);
        assert_eq!(opened.page(3, 10).expect("page 3").image.into_luma8().into_raw(), [255]);
        assert_eq!(opened.page(4, 10).err().expect("no page 4").reason, Reason::Corrupt);
    }

    #[test]
    fn pixels_are_counted_before_they_are_decoded() {
        let file = file_with(|encoder| encoder.write_image::<colortype::Gray8>(20, 10, &[0; 200]).expect("page"));
        let failure =
            TiffFile::open(&ImageSource::from(file.path())).expect("open").page(1, 199).err().expect("too many");
        assert_eq!(failure.reason, Reason::TooManyPixels);
        assert!(failure.detail.contains("20 × 10"), "{}", failure.detail);
    }

    #[test]
    fn a_cut_off_file_is_corrupt() {
        let file = file_with(|encoder| encoder.write_image::<colortype::Gray8>(100, 100, &[7; 10_000]).expect("page"));
        let length = file.as_file().metadata().expect("metadata").len();
        file.as_file().set_len(length / 2).expect("cut");
        let failure =
            TiffFile::open(&ImageSource::from(file.path())).and_then(|mut opened| opened.page(1, 100_000).map(drop));
        assert_eq!(failure.expect_err("cut off").reason, Reason::Corrupt);
    }
}
