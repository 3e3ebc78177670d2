// Compares the patched kernels with the code that they replace: all 2^32 floats through the activations, random matrices
// through the products, random bitmaps through the openings of the line finder.
// Compiled with the sources of the patched Tesseract at hand (src/ of it is on the include path) and its library.
#include <allheaders.h>

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <random>
#include <vector>

#include "activations.h"
#include "functions.h"
#include "intsimdmatrix.h"
#include "matrix.h"
#include "simddetect.h"

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
  }
  Check(same, (std::string("matrix products of ") + name).c_str());
}

// The functions under test are static.
#include "textord/linefind.cpp"

static void CheckOpenings() {
  std::mt19937 random(3);
  bool same = true;
  for (int round = 0; round < 4000; ++round) {
    const int width = 1 + random() % 140, height = 1 + random() % 140;
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

int main() {
  CheckOpenings();
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
