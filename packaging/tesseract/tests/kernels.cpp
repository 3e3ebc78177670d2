// Compares the patched kernels with the code that they replace: all 2^32 floats through the activations, random matrices
// through the products, random bitmaps through the openings of the line finder, random images through the layers of the
// models that are there.
// Compiled with the sources of the patched Tesseract at hand (src/ of it is on the include path) and its library.
//   kernels MODEL...     files of trained data, such as jpn.traineddata
#include <allheaders.h>

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <random>
#include <vector>

#include "activations.h"
#include "convolvedpool.h"
#include "functions.h"
#include "imagefind.h"
#include "intsimdmatrix.h"
#include "lstm.h"
#include "lstmrecognizer.h"
#include "matrix.h"
#include "series.h"
#include "simddetect.h"
#include "tessdatamanager.h"

using namespace tesseract;

static int failures = 0;

static void Check(bool right, const char *what) {
  printf("%s %s\n", right ? "same  " : "DIFFER", what);
  failures += !right;
}

// As networkio.cpp has it.
static void QuantizeScalar(int n, const float *in, int8_t *out) {
  for (int i = 0; i < n; ++i) {
    out[i] = ClipToRange<int>(IntCastRounded(in[i] * INT8_MAX), -INT8_MAX, INT8_MAX);
  }
}

// Calls a function with all floats of which |x| <= limit, in blocks.
template <typename Function>
static bool ForAllFloats(float limit, Function same) {
  constexpr int kBlock = 1 << 12;
  std::vector<float> block(kBlock);
  int filled = 0;
  for (uint64_t bits = 0; bits <= UINT32_MAX; ++bits) {
    const auto pattern = static_cast<uint32_t>(bits);
    float x;
    memcpy(&x, &pattern, sizeof(x));
    if (std::fabs(x) <= limit) {
      block[filled++] = x;
    }
    if (filled == kBlock || bits == UINT32_MAX) {
      if (!same(filled, block)) {
        return false;
      }
      filled = 0;
    }
  }
  return true;
}

static void CheckActivations(const Activations &activations, const char *name) {
  printf("activations of %s, all floats\n", name);
  Check(ForAllFloats(1e6f, [&](int n, const std::vector<float> &block) {
          std::vector<float> vector = block;
          activations.tanh(n, vector.data());
          for (int i = 0; i < n; ++i) {
            if (vector[i] != Tanh(block[i])) return false;
          }
          return true;
        }), "tanh");
  Check(ForAllFloats(1e6f, [&](int n, const std::vector<float> &block) {
          std::vector<float> vector = block;
          activations.logistic(n, vector.data());
          for (int i = 0; i < n; ++i) {
            if (vector[i] != Logistic(block[i])) return false;
          }
          return true;
        }), "logistic");
  Check(ForAllFloats(1000.0f, [&](int n, const std::vector<float> &block) {
          std::vector<int8_t> vector(n), scalar(n);
          activations.quantize(n, block.data(), vector.data());
          QuantizeScalar(n, block.data(), scalar.data());
          return vector == scalar;
        }), "quantize");
  // What ForwardConvolvedPool relies on. Floats of one sign are in the order of their patterns.
  for (uint32_t sign : {0U, 0x80000000U}) {
    int8_t last = 0;
    bool monotonic = true;
    constexpr int kBlock = 1 << 12;
    std::vector<float> block(kBlock);
    std::vector<int8_t> quantized(kBlock);
    for (uint32_t first = 0; first < 0x7f800000U; first += kBlock) {
      for (uint32_t i = 0; i < kBlock; ++i) {
        const uint32_t pattern = sign | (first + i);
        memcpy(&block[i], &pattern, sizeof(pattern));
      }
      activations.tanh(kBlock, block.data());
      activations.quantize(kBlock, block.data(), quantized.data());
      for (int8_t value : quantized) {
        monotonic = monotonic && (sign == 0 ? value >= last : value <= last);
        last = value;
      }
    }
    Check(monotonic && (last == 127 || last == -127), sign == 0 ? "quantised tanh never falls, x >= 0" : "quantised tanh never falls, x <= 0");
  }
  double worst = 0;
  ForAllFloats(86.0f, [&](int n, const std::vector<float> &block) {
    std::vector<float> vector;
    for (int i = 0; i < n; ++i) {
      vector.push_back(-std::fabs(block[i]));
    }
    const std::vector<float> in = vector;
    activations.expMinus(n, 0, vector.data());
    for (int i = 0; i < n; ++i) {
      const double exact = std::exp(static_cast<double>(in[i]));
      worst = std::max(worst, std::fabs(vector[i] - exact) / exact);
    }
    return true;
  });
  printf("       largest relative error of exp: %.3g\n", worst);
  Check(worst < 2e-7, "exp within its error");
  // What no model gives must not read outside the tables either.
  std::vector<float> extremes = {INFINITY, -INFINITY, NAN, 3e38f, -3e38f, 1e9f, -1e9f, 1e-45f, -0.0f, 15.998f, 16, 17, 0, 1, -1, 5};
  std::vector<int8_t> quantized(extremes.size());
  activations.tanh(extremes.size(), extremes.data());
  activations.logistic(extremes.size(), extremes.data());
  activations.quantize(extremes.size(), extremes.data(), quantized.data());
}

static void CheckStep(const Activations &activations, const char *name) {
  std::mt19937 random(1);
  std::uniform_real_distribution<float> sums(-12, 12), states(-101, 101);
  bool same = true;
  for (int round = 0; round < 20000; ++round) {
    const int n = kActivationCells * (1 + round % 4);
    std::vector<float> products(4 * n), state(n);
    for (float &product : products) product = sums(random);
    for (float &cell : state) cell = states(random);
    std::vector<float> expected_state = state, ci(products.begin(), products.begin() + n),
                       gi(products.begin() + n, products.begin() + 2 * n),
                       gf(products.begin() + 2 * n, products.begin() + 3 * n), go(products.begin() + 3 * n, products.end());
    for (int i = 0; i < n; ++i) {
      ci[i] = Tanh(ci[i]), gi[i] = Logistic(gi[i]), gf[i] = Logistic(gf[i]), go[i] = Logistic(go[i]);
    }
    // The steps of lstm.cpp, one after the other.
    MultiplyVectorsInPlace(n, gf.data(), expected_state.data());
    MultiplyAccumulate(n, ci.data(), gi.data(), expected_state.data());
    ClipVector<TFloat>(n, -100, 100, expected_state.data());
    std::vector<float> output(n);
    FuncMultiply<HFunc>(expected_state.data(), go.data(), n, output.data());
    std::vector<int8_t> expected(n), quantized(n);
    QuantizeScalar(n, output.data(), expected.data());
    activations.lstmStep(n, products.data(), state.data(), quantized.data());
    same = same && state == expected_state && quantized == expected;
  }
  Check(same, (std::string("LSTM step of ") + name).c_str());
}

static void CheckProducts(const IntSimdMatrix &matrix, const char *name) {
  std::mt19937 random(2);
  bool same = true;
  for (int round = 0; round < 3000; ++round) {
    const int rows = 1 + random() % 300, inputs = 1 + random() % 300;
    const bool extreme = round % 10 == 0;
    auto value = [&] { return static_cast<int8_t>(extreme ? (random() % 2 == 0 ? 127 : -127) : static_cast<int>(random() % 255) - 127); };
    GENERIC_2D_ARRAY<int8_t> weights(rows, inputs + 1, 0);
    for (int row = 0; row < rows; ++row) {
      for (int column = 0; column <= inputs; ++column) weights(row, column) = value();
    }
    std::vector<int8_t> in(inputs + 64, 0), shaped;
    for (int i = 0; i < inputs; ++i) in[i] = value();
    std::vector<float> scales(rows), expected(rows);
    for (float &scale : scales) scale = (1 + random() % 1000) / 127.0f / 1000;
    IntSimdMatrix::MatrixDotVector(weights, scales, in.data(), expected.data());
    int32_t rounded;
    matrix.Init(weights, shaped, rounded);
    scales.resize(rounded);
    std::vector<float> out(rounded);
    matrix.matrixDotVectorFunction(rows, inputs + 1, shaped.data(), scales.data(), in.data(), out.data());
    out.resize(rows);
    same = same && out == expected;
    if (matrix.matrixDotVectorsFunction == nullptr) continue;
    // Several vectors at once: each as alone.
    const int count = 1 + random() % IntSimdMatrix::kMaxVectors;
    std::vector<std::vector<int8_t>> ins(count, std::vector<int8_t>(inputs + 64, 0));
    std::vector<std::vector<float>> alone(count, std::vector<float>(rounded)), together = alone;
    std::vector<const int8_t *> in_pointers;
    std::vector<float *> out_pointers;
    for (int n = 0; n < count; ++n) {
      for (int i = 0; i < inputs; ++i) ins[n][i] = value();
      matrix.matrixDotVectorFunction(rows, inputs + 1, shaped.data(), scales.data(), ins[n].data(), alone[n].data());
      in_pointers.push_back(ins[n].data());
      out_pointers.push_back(together[n].data());
    }
    matrix.matrixDotVectorsFunction(rows, inputs + 1, shaped.data(), scales.data(), count, in_pointers.data(), out_pointers.data());
    same = same && together == alone;
  }
  Check(same, (std::string("matrix products of ") + name).c_str());
}

// The functions under test are static.
#include "textord/linefind.cpp"

static void CheckOpenings() {
  std::mt19937 random(3);
  bool same = true;
  for (int round = 0; round < 4000; ++round) {
    const int width = 1 + random() % (round % 8 == 0 ? 1500 : 140), height = 1 + random() % 140;
    Image pix = pixCreate(width, height, 1);
    const int density = 1 + random() % 40;
    for (int i = 0; i < width * height; ++i) {
      if (random() % 40 >= static_cast<unsigned>(density)) continue;
      pixRasterop(pix, random() % width, random() % height, 1 + random() % 20, 1 + random() % 20, PIX_SET, nullptr, 0, 0);
      if (i > 40) break;
    }
    const int brick_width = random() % 3 == 0 ? 1 : 1 + random() % 60, brick_height = random() % 3 == 0 ? 1 : 1 + random() % 60;
    Image fast = OpenBrick(pix, brick_width, brick_height), slow = pixOpenBrick(nullptr, pix, brick_width, brick_height);
    int equal = 0;
    pixEqual(fast, slow, &equal);
    same = same && equal == 1;
    pix.destroy();
    fast.destroy();
    slow.destroy();
  }
  Check(same, "openings");
}

// A count is what is left of the rectangle in an empty bitmap, and none is where there is no foreground to clip to.
static void CheckCounts() {
  std::mt19937 random(8);
  bool same = true;
  for (int round = 0; round < 20000; ++round) {
    const int width = 1 + random() % 200, height = 1 + random() % 60;
    Image pix = pixCreate(width, height, 1);
    for (unsigned i = random() % 40; i > 0; --i) {
      pixRasterop(pix, random() % width, random() % height, 1 + random() % 9, 1 + random() % 9, PIX_SET, nullptr, 0, 0);
    }
    const int left = static_cast<int>(random() % 240) - 20, top = static_cast<int>(random() % 100) - 20;
    const int box_width = 1 + random() % 130, box_height = 1 + random() % 40;
    Image part = pixCreate(box_width, box_height, 1);
    pixRasterop(part, 0, 0, box_width, box_height, PIX_SRC, pix, left, top);
    int expected = 0;
    pixCountPixels(part, &expected, nullptr);
    const int counted = ImageFind::CountPixels(pix, left, top, box_width, box_height);
    same = same && counted == expected;
    if (left >= 0 && top >= 0) {
      Box *box = boxCreate(left, top, box_width, box_height), *foreground = nullptr;
      pixClipBoxToForeground(pix, box, nullptr, &foreground);
      same = same && (counted == 0) == (foreground == nullptr);
      boxDestroy(&box);
      boxDestroy(&foreground);
    }
    part.destroy();
    pix.destroy();
  }
  Check(same, "counts of pixels");
}

// A model's network, and its seed.
class OpenRecognizer : public LSTMRecognizer {
public:
  bool LoadFrom(const char *model) {
    TessdataManager manager;
    return manager.Init(model) && Load(nullptr, "", &manager);
  }
  Series *Layers() { return static_cast<Series *>(network_); }
  NetworkScratch *Scratch() { return &scratch_space_; }
  void Seed() { SetRandomSeed(); }
  using LSTMRecognizer::LayerForCompany;
};

static bool SameOutputs(const NetworkIO &one, const NetworkIO &other) {
  if (one.Width() != other.Width() || one.NumFeatures() != other.NumFeatures()) return false;
  for (int t = 0; t < one.Width(); ++t) {
    if (memcmp(one.i(t), other.i(t), one.NumFeatures()) != 0) return false;
  }
  return true;
}

static NetworkIO RandomImage(std::mt19937 &random, int width, int height, int features) {
  StrideMap map;
  map.SetStride({{height, width}});
  NetworkIO image;
  image.ResizeToMap(true, map, features);
  const bool extreme = random() % 8 == 0;
  for (int t = 0; t < image.Width(); ++t) {
    for (int i = 0; i < features; ++i) {
      image.mutable_i(t)[i] = extreme ? (random() % 2 == 0 ? 127 : -127) : static_cast<int>(random() % 255) - 127;
    }
  }
  return image;
}

static void CheckLayers(const char *model) {
  OpenRecognizer recognizer;
  if (!recognizer.LoadFrom(model)) {
    Check(false, (std::string("no model in ") + model).c_str());
    return;
  }
  std::mt19937 random(4);
  const std::vector<Network *> &layers = recognizer.Layers()->stack();
  bool found = false, same = true;
  for (size_t i = 0; i + 1 < layers.size(); ++i) {
    if (layers[i + 1]->type() != NT_MAXPOOL) continue;
    found = true;
    for (int round = 0; round < 300; ++round) {
      NetworkIO image = RandomImage(random, 1 + random() % 80, round % 2 == 0 ? 36 : 1 + random() % 40, 1);
      NetworkIO between, expected, fast;
      between.set_int_mode(true);
      expected.set_int_mode(true);
      fast.set_int_mode(true);
      recognizer.Seed();
      layers[i]->Forward(false, image, nullptr, recognizer.Scratch(), &between);
      layers[i + 1]->Forward(false, between, nullptr, recognizer.Scratch(), &expected);
      recognizer.Seed();
      const StrideMap &map = image.stride_map();
      const bool is_large = map.Size(FD_WIDTH) >= 3 && map.Size(FD_HEIGHT) >= 3;
      const bool used = ForwardConvolvedPool(layers[i], layers[i + 1], image, &fast);
      same = same && used == is_large && (!used || SameOutputs(fast, expected));
    }
  }
  Check(found && same, (std::string("convolution and pool of ") + model).c_str());

  const int company = recognizer.LayerForCompany();
  if (company < 0) {
    printf("       no layer of %s gains from several lines at once\n", model);
    return;
  }
  auto *lstm = static_cast<LSTM *>(layers[company]);
  same = true;
  for (int round = 0; round < 60; ++round) {
    const int count = 1 + random() % IntSimdMatrix::kMaxVectors;
    std::vector<NetworkIO> inputs, alone(count), together(count);
    std::vector<const NetworkIO *> in;
    std::vector<NetworkIO *> out;
    for (int n = 0; n < count; ++n) inputs.push_back(RandomImage(random, 1 + random() % 60, 1, lstm->NumInputs()));
    for (int n = 0; n < count; ++n) {
      alone[n].set_int_mode(true);
      together[n].set_int_mode(true);
      lstm->Forward(false, inputs[n], nullptr, recognizer.Scratch(), &alone[n]);
      in.push_back(&inputs[n]);
      out.push_back(&together[n]);
    }
    lstm->ForwardTogether(in, out);
    for (int n = 0; n < count; ++n) same = same && SameOutputs(alone[n], together[n]);
  }
  Check(same, (std::string("several lines at once through ") + model).c_str());
}

int main(int count, char **models) {
  CheckOpenings();
  CheckCounts();
  for (int i = 1; i < count; ++i) {
    CheckLayers(models[i]);
  }
#if defined(__x86_64__)
  CheckProducts(IntSimdMatrix::intSimdMatrixAVX2, "AVX2");
  CheckStep(Activations::activationsAVX2, "AVX2");
  if (SIMDDetect::IsAVX512VNNIAvailable()) {
    CheckProducts(IntSimdMatrix::intSimdMatrixVNNI, "AVX-512 VNNI");
    CheckStep(Activations::activationsAVX512, "AVX-512");
    CheckActivations(Activations::activationsAVX512, "AVX-512");
  } else {
    printf("no AVX-512 VNNI here: its kernels were not compared\n");
  }
  CheckActivations(Activations::activationsAVX2, "AVX2");
#endif
  return failures > 0;
}
