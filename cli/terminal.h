#pragma once
// Text that fits its terminal: bars of exact width, wrapped paragraphs, colours where they are
// wanted. Style says what a stream can show; the functions are pure.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace gpupool {

enum class Colour : std::uint8_t { plain, bold, dim, red, green, yellow, cyan };

struct Style {
  std::int32_t columns = 80;
  bool is_terminal = false;
  bool colours = false;
  bool unicode = false;
};

// Of standard output (1) or standard error (2): its width if it is a terminal, else 80; colours on
// a terminal unless NO_COLOR is set; Unicode where the locale says UTF-8.
Style style_of(int file_descriptor);

std::string coloured(const Style& style, Colour colour, std::string_view text);

// How many columns `text` takes: UTF-8 code points, all of them taken for one column wide.
std::size_t width_of(std::string_view text);
std::string padded_right(std::string_view text, std::size_t columns);
std::string padded_left(std::string_view text, std::size_t columns);
// At most `columns` wide, the end cut off with "~" or an ellipsis.
std::string shortened(const Style& style, std::string_view text, std::size_t columns);

// Breaks at spaces so that no line is wider than the style; every line but the first starts with
// `indent` spaces. A word longer than a line stays whole.
std::string wrapped(const Style& style, std::string_view text, std::size_t indent);

// One stretch of a bar.
struct Stretch {
  std::int64_t amount = 0;
  Colour colour = Colour::plain;
  std::string_view glyph;  // in UTF-8
  char ascii = '#';
};
std::string glyph_of(const Style& style, const Stretch& stretch);

// Cells for each amount in proportion, `cells` in all; what is not nothing has a cell if there are
// enough. All empty if every amount is 0 or less.
std::vector<std::size_t> cells_of(const std::vector<std::int64_t>& amounts, std::size_t cells);

// The stretches side by side, exactly `cells` columns wide if any amount is above 0.
std::string bar(const Style& style, const std::vector<Stretch>& stretches, std::size_t cells);

// What is free of control characters, so that no pool and no prompt can steer a terminal.
std::string printable(std::string_view text);

}  // namespace gpupool
