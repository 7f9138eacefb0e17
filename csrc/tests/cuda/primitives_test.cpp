// Each PTX function against the PTX manual's own formulas: where each element of an operand is, by number of lane and
// element; swizzles as "chunk c of row r stands at c xor r".
#include "tests/cuda/primitives_kernel.h"

#include <cmath>
#include <utility>

#include "tests/cuda/schedules.h"

namespace pyformer::cuda {
namespace {

using namespace emulated;

// Small integers, which all types and sums hold exactly.
int element(int row, int column, int salt) { return (row * 7 + column * 3 + salt * 5 + row * column) % 11 - 5; }

template <class T>
uint16_t bits(int value) {
  return rounded<T>(float(value)).bits;
}

int product(int row, int column, int depth) {
  int sum = 0;
  for (int k = 0; k < depth; ++k) sum += element(row, k, 1) * element(k, column, 2);
  return sum;
}

void put_half(uint32_t& pair, int element_number, uint16_t half) {
  pair |= uint32_t(half) << 16 * (element_number % 2);
}

template <class T>
void test_mma() {
  std::vector<uint32_t> a(32 * 4, 0), b(32 * 2, 0);
  std::vector<float> d(32 * 4, 1);
  for (int lane = 0; lane < 32; ++lane) {
    const int group = lane >> 2, in_group = lane % 4;
    for (int i = 0; i < 8; ++i) {
      const int row = (i < 2 || (4 <= i && i < 6)) ? group : group + 8;
      const int column = in_group * 2 + (i & 1) + (i >= 4 ? 8 : 0);
      put_half(a[lane * 4 + i / 2], i, bits<T>(element(row, column, 1)));
    }
    for (int i = 0; i < 4; ++i) {
      const int row = in_group * 2 + (i & 1) + (i >= 2 ? 8 : 0);
      put_half(b[lane * 2 + i / 2], i, bits<T>(element(row, group, 2)));
    }
  }
  launch(mma_test<T>, 1, 32, 0, nullptr, MmaTest{a.data(), b.data(), d.data()});
  for (int lane = 0; lane < 32; ++lane)
    for (int i = 0; i < 4; ++i) {
      const int row = i < 2 ? lane >> 2 : (lane >> 2) + 8, column = lane % 4 * 2 + (i & 1);
      REQUIRE(d[lane * 4 + i] == float(1 + product(row, column, 16)));
    }
}

void test_mma_tf32() {
  std::vector<uint32_t> a(32 * 4), b(32 * 2);
  std::vector<float> d(32 * 4, 1);
  const auto tf32 = [](int value) { return float_bits(float(value)) | 0x1234; };  // what stands below is ignored
  for (int lane = 0; lane < 32; ++lane) {
    const int group = lane >> 2, in_group = lane % 4;
    a[lane * 4 + 0] = tf32(element(group, in_group, 1));
    a[lane * 4 + 1] = tf32(element(group + 8, in_group, 1));
    a[lane * 4 + 2] = tf32(element(group, in_group + 4, 1));
    a[lane * 4 + 3] = tf32(element(group + 8, in_group + 4, 1));
    b[lane * 2 + 0] = tf32(element(in_group, group, 2));
    b[lane * 2 + 1] = tf32(element(in_group + 4, group, 2));
  }
  launch(mma_tf32_test<>, 1, 32, 0, nullptr, MmaTest{a.data(), b.data(), d.data()});
  for (int lane = 0; lane < 32; ++lane)
    for (int i = 0; i < 4; ++i) {
      const int row = i < 2 ? lane >> 2 : (lane >> 2) + 8, column = lane % 4 * 2 + (i & 1);
      REQUIRE(d[lane * 4 + i] == float(1 + product(row, column, 8)));
    }
}

// Matrix i has the elements 64 i + 8 row + column.
template <bool transposed, int count>
void test_matrix() {
  std::vector<int> place(32);
  std::vector<uint16_t> in(256), out(256, 0xffff);
  for (int r = 0; r < 32; ++r) place[r] = r * 13 % 32;
  for (int i = 0; i < 256; ++i) in[i] = uint16_t(i);
  std::vector<uint32_t> registers(32 * count);
  launch(matrix_test<transposed, count>, 1, 32, sizeof(MatrixShared), nullptr,
         MatrixTest{place.data(), in.data(), registers.data(), out.data()});
  for (int lane = 0; lane < 32; ++lane)
    for (int i = 0; i < count; ++i) {
      const int row = lane / 4, column = lane % 4 * 2;
      const int low = transposed ? column * 8 + row : row * 8 + column, step = transposed ? 8 : 1;
      REQUIRE(registers[lane * count + i] == uint32_t(64 * i + low) + (uint32_t(64 * i + low + step) << 16));
    }
  for (int i = 0; i < 64 * count; ++i) REQUIRE(out[i] == in[i]);
  for (int i = 64 * count; i < 256; ++i) REQUIRE(out[i] == 0);
}

// ---- wgmma ---------------------------------------------------------------------------------------------------------

constexpr int kLineBytes[] = {16, 128, 64, 32};

// Where chunk c (16 bytes) of line r stands in an atom of eight lines.
int chunk_place(int chunk, int line, Swizzle swizzle) {
  if (swizzle == Swizzle::bytes_128) return chunk ^ line % 8;
  if (swizzle == Swizzle::bytes_64) return chunk ^ line / 2 % 4;
  if (swizzle == Swizzle::bytes_32) return chunk ^ line / 4 % 2;
  return chunk;
}

// An operand of `rows` rows and 16 k as it lies in shared memory: atoms of eight lines; in k-major order atoms follow
// one another along the rows; in mn-major order along k first.
template <class T, class Value>
std::vector<uint16_t> image_of(int rows, Major major, Swizzle swizzle, Operand& operand, const Value& value) {
  std::vector<uint16_t> image(WgmmaShared::kBytes / 2, 0x7f81);  // NaN
  const int line_bytes = kLineBytes[int(swizzle)], atom_bytes = 8 * line_bytes, in_line = line_bytes / 2;
  const bool plain = swizzle == Swizzle::none;
  for (int row = 0; row < rows; ++row)
    for (int k = 0; k < 16; ++k) {
      const int along = major == Major::k ? k : row, line = major == Major::k ? row : k;
      const int atom = major == Major::k ? (plain ? row / 8 * 2 + k / 8 : row / 8) : row / in_line * 2 + k / 8;
      const int chunk = chunk_place(along % in_line / 8, line % 8, swizzle);
      image[(atom * atom_bytes + line % 8 * line_bytes + chunk * 16) / 2 + along % 8] = bits<T>(value(row, k));
    }
  const uint32_t pair = uint32_t(2 * atom_bytes), one = uint32_t(atom_bytes);
  if (major == Major::k) operand = {nullptr, plain ? one : 16, plain ? pair : one, swizzle};
  if (major == Major::mn) operand = {nullptr, plain ? one : pair, plain ? pair : one, swizzle};
  return image;
}

template <class T, int n, bool a_in_registers, Major a_major, Major b_major>
void test_wgmma(Swizzle a_swizzle, Swizzle b_swizzle) {
  WgmmaTest p = {};
  const auto a = image_of<T>(64, a_major, a_swizzle, p.a, [](int row, int k) { return element(row, k, 1); });
  const auto b = image_of<T>(n, b_major, b_swizzle, p.b, [](int row, int k) { return element(k, row, 2); });
  std::vector<uint32_t> a_registers(128 * 4, 0);
  for (int thread = 0; thread < 128; ++thread)
    for (int i = 0; i < 8; ++i) {
      const int row = thread / 32 * 16 + thread % 32 / 4 + (i / 2 % 2 ? 8 : 0),
                k = thread % 4 * 2 + i % 2 + (i >= 4 ? 8 : 0);
      put_half(a_registers[thread * 4 + i / 2], i, bits<T>(element(row, k, 1)));
    }
  std::vector<float> d(128 * n / 2, 1);
  p.a.image = a.data(), p.b.image = b.data(), p.a_registers = a_registers.data(), p.d = d.data();
  launch(wgmma_test<T, n, a_in_registers, a_major, b_major>, 1, 128, sizeof(WgmmaShared), nullptr, p);
  for (int thread = 0; thread < 128; ++thread)
    for (int i = 0; i < n / 2; ++i) {
      const int row = 16 * (thread / 32) + thread % 32 / 4 + 8 * (i / 2 % 2),
                column = 8 * (i / 4) + thread % 4 * 2 + i % 2;
      REQUIRE(d[thread * (n / 2) + i] == float(1 + product(row, column, 16)));
    }
}

template <int... eighths>
void test_widths(std::integer_sequence<int, eighths...>) {
  (test_wgmma<BFloat16, 8 * (eighths + 1), false, Major::k, Major::k>(Swizzle::bytes_128, Swizzle::bytes_128), ...);
  (test_wgmma<Float16, 8 * (eighths + 1), true, Major::k, Major::k>(Swizzle::none, Swizzle::bytes_32), ...);
}

void test_swizzles() {
  for (const Swizzle swizzle : {Swizzle::none, Swizzle::bytes_128, Swizzle::bytes_64, Swizzle::bytes_32}) {
    test_wgmma<BFloat16, 64, false, Major::k, Major::k>(swizzle, swizzle);
    test_wgmma<BFloat16, 64, false, Major::mn, Major::k>(swizzle, swizzle);
    test_wgmma<Float16, 64, false, Major::k, Major::mn>(swizzle, swizzle);
    test_wgmma<BFloat16, 128, true, Major::k, Major::mn>(swizzle, swizzle);
  }
}

// ---- bulk copies ---------------------------------------------------------------------------------------------------

// A box of 8 lines (in three dimensions 2 of 4) from a tensor of 20 x 7 (x 3) lines, partly outside.
template <int rank>
void test_box(Swizzle swizzle, int at0, int at1, int at2) {
  const int line = kLineBytes[int(swizzle)] / 2, width = line + 8;
  const int sizes[3] = {width, 7, rank == 3 ? 3 : 1}, box[3] = {line, rank == 3 ? 4 : 8, rank == 3 ? 2 : 1};
  alignas(16) static uint16_t from[72 * 7 * 3], to[72 * 7 * 3];
  for (int i = 0; i < width * sizes[1] * sizes[2]; ++i) from[i] = uint16_t(i + 1), to[i] = 0;
  TensorMapShape<rank> shape = {{}, {}, {}, swizzle};
  for (int i = 0; i < rank; ++i) shape.sizes[i] = sizes[i], shape.box[i] = box[i];
  for (int i = 1; i < rank; ++i) shape.strides[i] = i == 1 ? width * 2 : width * 2 * sizes[1];
  const uint32_t bytes = uint32_t(line * 8 * 2);
  std::vector<uint16_t> image(bytes / 2, 0xffff);
  BoxTest p = {tensor_map(from, DType::bfloat16, shape),
               tensor_map(to, DType::bfloat16, shape),
               {at0, at1, at2},
               bytes,
               image.data()};
  launch(box_test<rank>, 1, 32, sizeof(BoxShared), nullptr, p);
  for (int z = 0; z < box[2]; ++z)
    for (int y = 0; y < box[1]; ++y)
      for (int x = 0; x < line; ++x) {
        const int gx = at0 + x, gy = at1 + y, gz = at2 + z, row = z * box[1] + y;
        const bool inside = gx >= 0 && gx < width && gy >= 0 && gy < sizes[1] && gz >= 0 && gz < sizes[2];
        const int i = inside ? (gz * sizes[1] + gy) * width + gx : 0;
        const uint16_t got = image[row * line + chunk_place(x / 8, row, swizzle) * 8 + x % 8];
        REQUIRE(got == (inside ? from[i] : 0));
        if (inside) REQUIRE(to[i] == from[i]);
      }
}

void test_bulk() {
  alignas(16) uint16_t in[256], out[256];
  for (int i = 0; i < 256; ++i) in[i] = uint16_t(i), out[i] = 0xffff;
  launch(bulk_test<>, 1, 32, sizeof(BoxShared), nullptr, BulkTest{in, out, 320});
  for (int i = 0; i < 256; ++i) REQUIRE(out[i] == (i < 160 ? in[i] : 0xffff));
}

void test_lanes() {
  std::vector<int> out(32 * 8);
  launch(lanes_test<>, 1, 32, 0, nullptr, LanesTest{out.data()});
  for (int lane = 0; lane < 32; ++lane) {
    const int* got = &out[lane * 8];
    REQUIRE(got[0] == 5 && got[1] == (lane < 3 ? lane : lane - 3));
    REQUIRE(got[2] == (lane % 16 < 13 ? lane + 3 : lane) && got[3] == (lane ^ 9));
    REQUIRE(got[4] == 0x49249249 && got[5] == 3 && got[6] == lane % 2);
    REQUIRE(got[7] == int(0x3f800000u + (uint32_t(lane + 1) / 2 + (lane % 4 == 2)) * 0x10000u));
  }
}

}  // namespace
}  // namespace pyformer::cuda

void test_primitives() {
  using namespace pyformer;
  using namespace pyformer::cuda;
  for (const char* schedule : {"lowest", "highest,late,plain", "drawn,late,ampere"}) {
    const emulated::With settings(schedule);
    test_lanes();
    test_mma<BFloat16>();
    test_mma<Float16>();
    test_mma_tf32();
    test_matrix<false, 1>(), test_matrix<false, 2>(), test_matrix<false, 4>();
    test_matrix<true, 1>(), test_matrix<true, 2>(), test_matrix<true, 4>();
    test_swizzles();
    test_bulk();
    for (const Swizzle swizzle : {Swizzle::none, Swizzle::bytes_128, Swizzle::bytes_64, Swizzle::bytes_32}) {
      test_box<2>(swizzle, 0, 0, 0), test_box<2>(swizzle, 8, 2, 0), test_box<2>(swizzle, -3, -2, 0);
      test_box<3>(swizzle, 0, 1, 1), test_box<3>(swizzle, 16, 5, 2), test_box<3>(swizzle, -1, -1, -1);
    }
  }
  test_widths(std::make_integer_sequence<int, 32>());
}
