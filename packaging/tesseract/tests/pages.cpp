// Reads grey pages (PGM files) with a warm engine: for the identity test, measurements and the sanitizers.
//   pages [options] FILE.pgm...
//     -d DIR         models (default /usr/share/tesseract-ocr/5/tessdata)
//     -l LANGUAGES   (default jpn+eng)
//     -c NAME=VALUE  a Tesseract variable; may be repeated
//     -p MODE        page segmentation mode (default 3)
//     -o DIR         writes NAME.txt: the text, and each element of the page with its box
//     -r ROUNDS      reads all pages so many times
//     -g COUNT       reads, instead of the files, COUNT pages made from them: cut, scaled, inverted, noisy, faint
//     -s             reads, instead of the files, rasters of odd sizes with all page segmentation modes
// Prints seconds of CPU a page, and the memory in use after every 50 pages and at its highest.
#include <sys/resource.h>
#include <tesseract/baseapi.h>
#include <tesseract/resultiterator.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

namespace {

struct Page {
  std::string name;
  int width = 0;
  int height = 0;
  std::vector<unsigned char> pixels;
};

[[noreturn]] void Fail(const std::string &sentence) {
  fprintf(stderr, "pages: %s\n", sentence.c_str());
  exit(1);
}

Page ReadPgm(const std::string &path) {
  Page page;
  page.name = path.substr(path.rfind('/') + 1);
  FILE *file = fopen(path.c_str(), "rb");
  int white = 0;
  if (file == nullptr || fscanf(file, "P5 %d %d %d", &page.width, &page.height, &white) != 3 || white != 255) {
    Fail(path + " is no PGM file of 8 bits");
  }
  fgetc(file);
  page.pixels.resize(static_cast<size_t>(page.width) * page.height);
  if (fread(page.pixels.data(), 1, page.pixels.size(), file) != page.pixels.size()) {
    Fail(path + " is cut off");
  }
  fclose(file);
  return page;
}

// A page made from another: a piece of it, at another scale, changed as scanners change pages. The same for the same seed.
Page Derive(const Page &source, unsigned seed) {
  std::mt19937 random(seed);
  auto uniform = [&random](double from, double to) { return from + (to - from) * (random() / 4294967296.0); };
  const double scale = uniform(0.6, 1.3);
  const int cut_width = static_cast<int>(source.width * uniform(0.2, 0.7));
  const int cut_height = static_cast<int>(source.height * uniform(0.1, 0.35));
  const int left = static_cast<int>(uniform(0, source.width - cut_width));
  const int top = static_cast<int>(uniform(0, source.height - cut_height));
  const double slant = uniform(-0.02, 0.02);
  const double contrast = random() % 4 == 0 ? uniform(0.15, 0.5) : 1;
  const double noise = random() % 2 == 0 ? uniform(0, 40) : 0;
  const bool inverted = random() % 10 == 0;
  Page page;
  page.name = "generated-" + std::to_string(seed) + ".pgm";
  page.width = std::max(1, static_cast<int>(cut_width * scale));
  page.height = std::max(1, static_cast<int>(cut_height * scale));
  page.pixels.resize(static_cast<size_t>(page.width) * page.height);
  for (int y = 0; y < page.height; ++y) {
    for (int x = 0; x < page.width; ++x) {
      const int source_x = std::clamp(left + static_cast<int>(x / scale), 0, source.width - 1);
      const int source_y = std::clamp(top + static_cast<int>(y / scale + slant * x), 0, source.height - 1);
      double value = source.pixels[static_cast<size_t>(source_y) * source.width + source_x];
      value = 255 - (255 - value) * contrast + (noise > 0 ? uniform(-noise, noise) : 0);
      page.pixels[static_cast<size_t>(y) * page.width + x] = std::clamp(inverted ? 255 - value : value, 0.0, 255.0);
    }
  }
  return page;
}

// White, black, noise, stripes.
Page Raster(int width, int height, int kind) {
  Page page;
  page.name = std::to_string(width) + "x" + std::to_string(height) + "-" + std::to_string(kind);
  page.width = width;
  page.height = height;
  page.pixels.resize(static_cast<size_t>(width) * height);
  std::mt19937 random(width * 31 + height * 7 + kind);
  for (size_t i = 0; i < page.pixels.size(); ++i) {
    const int x = i % width, y = i / width;
    switch (kind) {
      case 0: page.pixels[i] = 255; break;
      case 1: page.pixels[i] = 0; break;
      case 2: page.pixels[i] = random(); break;
      case 3: page.pixels[i] = x / 3 % 5 == 0 ? 0 : 255; break;
      case 4: page.pixels[i] = random() % 50 == 0 ? 0 : 255; break;
      default: page.pixels[i] = (x / 7 + y / 9) % 3 == 0 && y % 40 < 28 ? 20 : 240; break;
    }
  }
  return page;
}

class Reader {
public:
  Reader(const std::string &models, const std::string &languages, const std::vector<std::string> &variables,
         const std::string &out)
      : out_(out) {
    if (api_.Init(models.c_str(), languages.c_str(), tesseract::OEM_LSTM_ONLY)) {
      Fail("no models of " + languages + " in " + models);
    }
    for (const std::string &variable : variables) {
      const size_t equals = variable.find('=');
      if (equals == std::string::npos ||
          !api_.SetVariable(variable.substr(0, equals).c_str(), variable.c_str() + equals + 1)) {
        Fail("no variable " + variable);
      }
    }
  }

  void Read(const Page &page, int mode) {
    const double start = CpuSeconds();
    api_.SetPageSegMode(static_cast<tesseract::PageSegMode>(mode));
    api_.SetImage(page.pixels.data(), page.width, page.height, 1, page.width);
    api_.SetSourceResolution(300);
    std::unique_ptr<char[]> text(api_.GetUTF8Text());
    seconds_ += CpuSeconds() - start;
    ++pages_;
    if (!out_.empty()) {
      Write(page.name, text.get() == nullptr ? "" : text.get());
    }
    api_.Clear();
    if (pages_ % 50 == 0) {
      fprintf(stderr, "after %d pages: %.0f MiB\n", pages_, ResidentMebibytes());
    }
  }

  void Report() const {
    rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    printf("%d pages, %.4f s of CPU a page, %.0f MiB, at most %ld MiB\n", pages_, seconds_ / std::max(1, pages_),
           ResidentMebibytes(), usage.ru_maxrss / 1024);
  }

private:
  static double CpuSeconds() {
    rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_utime.tv_sec + usage.ru_utime.tv_usec * 1e-6 + usage.ru_stime.tv_sec + usage.ru_stime.tv_usec * 1e-6;
  }

  static double ResidentMebibytes() {
    long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file == nullptr || fscanf(file, "%*d %ld", &pages) != 1) {
      pages = 0;
    }
    if (file != nullptr) {
      fclose(file);
    }
    return pages * static_cast<double>(sysconf(_SC_PAGESIZE)) / (1 << 20);
  }

  // Confidences are left out: the softmax of the patched engine may differ from the other's in the last bits.
  void Write(const std::string &name, const std::string &text) {
    FILE *file = fopen((out_ + "/" + name + ".txt").c_str(), "w");
    if (file == nullptr) {
      Fail("cannot write into " + out_);
    }
    fputs(text.c_str(), file);
    std::unique_ptr<tesseract::ResultIterator> symbols(api_.GetIterator());
    for (; symbols != nullptr;) {
      int left, top, right, bottom;
      std::unique_ptr<char[]> symbol(symbols->GetUTF8Text(tesseract::RIL_SYMBOL));
      symbols->BoundingBox(tesseract::RIL_SYMBOL, &left, &top, &right, &bottom);
      if (symbol != nullptr) {
        fprintf(file, "%s %d %d %d %d\n", symbol.get(), left, top, right, bottom);
      }
      if (!symbols->Next(tesseract::RIL_SYMBOL)) {
        break;
      }
    }
    fclose(file);
  }

  tesseract::TessBaseAPI api_;
  std::string out_;
  int pages_ = 0;
  double seconds_ = 0;
};

// Tesseract scales a line to 36 pixels of height: one of a single pixel and 3,000 of length becomes 108,000 steps of the
// network, which take minutes under the checks and go through the same code each. One of them is read nevertheless.
constexpr int kLongestLine = 120; // times its height

bool IsLine(int mode) {
  return (mode >= tesseract::PSM_SINGLE_LINE && mode <= tesseract::PSM_SINGLE_CHAR) || mode == tesseract::PSM_RAW_LINE;
}

void ReadSize(Reader &reader, int width, int height, const std::vector<int> &kinds, const std::vector<int> &modes) {
  fprintf(stderr, "%d x %d\n", width, height);
  const bool is_long = std::max(width, height) > kLongestLine * std::min(width, height);
  for (int kind : kinds) {
    const Page page = Raster(width, height, kind);
    for (int mode : modes) {
      if (is_long && IsLine(mode)) {
        continue;
      }
      reader.Read(page, mode);
    }
  }
}

void ReadOddSizes(Reader &reader) {
  // Orientation (0 and 2) has models of its own and is no part of what the worker asks for; 2 does nothing.
  const std::vector<int> modes = {1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13};
  const std::vector<std::pair<int, int>> small = {
      {1, 1},    {1, 2},     {2, 1},      {3, 3},     {1, 100}, {100, 1},  {1, 3000},  {3000, 1},  {2, 3000},
      {3000, 2}, {7, 5},     {31, 33},    {33, 31},   {10, 10}, {64, 64},  {36, 1000}, {1000, 36}, {127, 129},
      {300, 41}, {41, 300},  {999, 101},  {640, 480}, {5, 2000}, {2000, 5}};
  for (auto [width, height] : small) {
    ReadSize(reader, width, height, {0, 1, 2, 3, 4, 5}, modes);
  }
  const std::vector<std::pair<int, int>> long_sizes = {{32767, 1},  {1, 32767},  {32767, 3},  {3, 32767},
                                                       {32767, 40}, {40, 32767}, {32767, 300}};
  for (auto [width, height] : long_sizes) {
    ReadSize(reader, width, height, {0, 3, 5}, {3, 6, 7});
  }
  // As a vertical block, which a narrow one of these would be a single line of.
  ReadSize(reader, 40, 32767, {0, 3, 5}, {5});
  ReadSize(reader, 32767, 300, {0, 3, 5}, {5});
  reader.Read(Raster(3000, 1, 2), tesseract::PSM_SINGLE_LINE);
}

} // namespace

int main(int count, char **arguments) {
  std::string models = "/usr/share/tesseract-ocr/5/tessdata", languages = "jpn+eng", out;
  std::vector<std::string> variables = {"debug_file=/dev/null"};
  int mode = 3, rounds = 1, generated = 0;
  bool odd_sizes = false;
  for (int option; (option = getopt(count, arguments, "d:l:c:p:o:r:g:s")) != -1;) {
    switch (option) {
      case 'd': models = optarg; break;
      case 'l': languages = optarg; break;
      case 'c': variables.push_back(optarg); break;
      case 'p': mode = atoi(optarg); break;
      case 'o': out = optarg; break;
      case 'r': rounds = atoi(optarg); break;
      case 'g': generated = atoi(optarg); break;
      case 's': odd_sizes = true; break;
      default: Fail("unknown option; they are described at the top of pages.cpp");
    }
  }
  std::vector<std::string> files(arguments + optind, arguments + count);
  if (files.empty() && !odd_sizes) {
    Fail("no files");
  }
  Reader reader(models, languages, variables, out);
  if (odd_sizes) {
    ReadOddSizes(reader);
  }
  for (int i = 0; i < generated; ++i) {
    reader.Read(Derive(ReadPgm(files[i % files.size()]), i), i % 8 == 7 ? 6 : mode);
  }
  for (int round = 0; round < rounds && generated == 0 && !odd_sizes; ++round) {
    for (const std::string &file : files) {
      reader.Read(ReadPgm(file), mode);
    }
  }
  reader.Report();
}
