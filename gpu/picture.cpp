#include "gpu/picture.h"

#include <png.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "base/ensure.h"

namespace gpupool {
namespace {

constexpr std::int32_t colours = 3;
constexpr std::int32_t taps = 4;

std::uint8_t to_byte(float value) {
  const float full = std::clamp((value + 1.0F) * 127.5F, 0.0F, 255.0F);
  return static_cast<std::uint8_t>(std::lround(full));
}

// Where the value of one enlarged pixel comes from, along one side of the picture.
struct Filter {
  std::array<std::int32_t, taps> source{};
  std::array<float, taps> weight{};
};

// The cubic through the pixels of Catmull and Rom, "A class of local interpolating splines", 1974,
// with the border pixels repeated outwards.
Filter smooth_filter(float position, std::int32_t side) {
  const float below = std::floor(position);
  const float t = position - below;
  const auto first = static_cast<std::int32_t>(below) - 1;
  Filter filter;
  filter.weight = {((-0.5F * t + 1.0F) * t - 0.5F) * t, (1.5F * t - 2.5F) * t * t + 1.0F,
                   ((-1.5F * t + 2.0F) * t + 0.5F) * t, (0.5F * t - 0.5F) * t * t};
  for (std::int32_t i = 0; i < taps; ++i) {
    filter.source[static_cast<std::size_t>(i)] = std::clamp(first + i, 0, side - 1);
  }
  return filter;
}

// One filter per pixel of an enlarged side.
std::vector<Filter> filters_of(const Planes& planes, std::int32_t factor, Enlarge enlarge) {
  const std::int32_t side = planes.side;
  std::vector<Filter> filters;
  for (std::int32_t out = 0; out < side * factor; ++out) {
    if (enlarge == Enlarge::nearest) {
      filters.push_back({.source = {out / factor}, .weight = {1.0F}});
    } else {
      // Pixels are areas: their centres lie half a pixel inside, before and after.
      const float centre = (static_cast<float>(out) + 0.5F) / static_cast<float>(factor) - 0.5F;
      filters.push_back(smooth_filter(centre, side));
    }
  }
  return filters;
}

// One plane, [side, side] to [big, big]: first every row, then every column.
std::vector<float> enlarged(std::span<const float> plane, std::int32_t side,
                            const std::vector<Filter>& filters) {
  const auto small = static_cast<std::size_t>(side);
  const std::size_t big = filters.size();
  std::vector<float> wide(small * big);
  for (std::size_t y = 0; y < small; ++y) {
    for (std::size_t x = 0; x < big; ++x) {
      float sum = 0;
      for (std::size_t i = 0; i < taps; ++i) {
        const auto source = static_cast<std::size_t>(filters[x].source[i]);
        sum += filters[x].weight[i] * plane[y * small + source];
      }
      wide[y * big + x] = sum;
    }
  }
  std::vector<float> out(big * big);
  for (std::size_t y = 0; y < big; ++y) {
    for (std::size_t i = 0; i < taps; ++i) {
      const float* row = wide.data() + static_cast<std::size_t>(filters[y].source[i]) * big;
      for (std::size_t x = 0; x < big; ++x) out[y * big + x] += filters[y].weight[i] * row[x];
    }
  }
  return out;
}

}  // namespace

Picture to_picture(const Planes& planes, std::int32_t factor, Enlarge enlarge) {
  GPUPOOL_ENSURE(planes.side > 0 && factor > 0, planes.side, factor);
  const auto plane_size =
      static_cast<std::size_t>(planes.side) * static_cast<std::size_t>(planes.side);
  const std::size_t given = planes.values.size() / plane_size;  // gray is all three colours
  GPUPOOL_ENSURE((given == 1 || given == colours) && planes.values.size() == given * plane_size,
                 planes.values.size());
  const std::vector<Filter> filters = filters_of(planes, factor, enlarge);
  const std::size_t pixels = filters.size() * filters.size();
  Picture picture{.width = planes.side * factor, .height = planes.side * factor};
  picture.rgb.resize(pixels * colours);
  for (std::size_t colour = 0; colour < colours; ++colour) {
    const std::vector<float> plane = enlarged(
        planes.values.subspan(colour % given * plane_size, plane_size), planes.side, filters);
    for (std::size_t i = 0; i < pixels; ++i) picture.rgb[i * colours + colour] = to_byte(plane[i]);
  }
  return picture;
}

Result<std::string> encode_png(const Picture& picture) {
  GPUPOOL_ENSURE(picture.width > 0 && picture.height > 0, picture.width, picture.height);
  GPUPOOL_ENSURE(picture.rgb.size() == static_cast<std::size_t>(picture.width) *
                                           static_cast<std::size_t>(picture.height) * colours,
                 picture.rgb.size());
  // libpng's simplified interface: errors come back as values, without setjmp.
  png_image image{};
  image.version = PNG_IMAGE_VERSION;
  image.width = static_cast<png_uint_32>(picture.width);
  image.height = static_cast<png_uint_32>(picture.height);
  image.format = PNG_FORMAT_RGB;
  png_alloc_size_t bytes = PNG_IMAGE_PNG_SIZE_MAX(image);
  std::string file(bytes, '\0');
  const int written =
      png_image_write_to_memory(&image, file.data(), &bytes, 0, picture.rgb.data(), 0, nullptr);
  if (written == 0) {
    return Error{.code = Errc::system_failed, .detail = std::string("libpng: ") + image.message};
  }
  file.resize(bytes);
  return file;
}

}  // namespace gpupool
