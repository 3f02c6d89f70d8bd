#include "cli/terminal.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <numeric>

namespace gpupool {
namespace {

std::string_view escape_of(Colour colour) {
  switch (colour) {
    case Colour::plain:
      return "";
    case Colour::bold:
      return "\x1b[1m";
    case Colour::dim:
      return "\x1b[2m";
    case Colour::red:
      return "\x1b[31m";
    case Colour::green:
      return "\x1b[32m";
    case Colour::yellow:
      return "\x1b[33m";
    case Colour::cyan:
      return "\x1b[36m";
  }
  return "";
}

std::string_view environment(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

bool locale_is_utf8() {
  for (const char* name : {"LC_ALL", "LC_CTYPE", "LANG"}) {
    const std::string_view value = environment(name);
    if (value.empty()) continue;  // the first that is set decides
    return value.find("UTF-8") != std::string_view::npos ||
           value.find("utf8") != std::string_view::npos;
  }
  return false;
}

bool starts_character(char c) { return (static_cast<unsigned char>(c) & 0xc0U) != 0x80U; }

}  // namespace

Style style_of(int file_descriptor) {
  Style style;
  style.unicode = locale_is_utf8();
  style.is_terminal = isatty(file_descriptor) == 1;
  if (!style.is_terminal) return style;
  style.colours = environment("NO_COLOR").empty() && environment("TERM") != "dumb";
  winsize size{};
  if (ioctl(file_descriptor, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
    style.columns = std::clamp<std::int32_t>(size.ws_col, 20, 1'000);
  return style;
}

std::string coloured(const Style& style, Colour colour, std::string_view text) {
  if (!style.colours || colour == Colour::plain) return std::string(text);
  return std::string(escape_of(colour)) + std::string(text) + "\x1b[0m";
}

std::size_t width_of(std::string_view text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), starts_character));
}

std::string padded_right(std::string_view text, std::size_t columns) {
  const std::size_t width = width_of(text);
  return std::string(text) + std::string(width < columns ? columns - width : 0, ' ');
}

std::string padded_left(std::string_view text, std::size_t columns) {
  const std::size_t width = width_of(text);
  return std::string(width < columns ? columns - width : 0, ' ') + std::string(text);
}

std::string shortened(const Style& style, std::string_view text, std::size_t columns) {
  if (width_of(text) <= columns || columns == 0) return std::string(columns == 0 ? "" : text);
  std::size_t end = 0;
  for (std::size_t characters = 0; end < text.size(); ++end)
    if (starts_character(text[end]) && ++characters == columns) break;
  return std::string(text.substr(0, end)) + (style.unicode ? "\xe2\x80\xa6" : "~");
}

std::string wrapped(const Style& style, std::string_view text, std::size_t indent) {
  const auto columns = static_cast<std::size_t>(style.columns);
  std::string lines;
  std::size_t used = indent;  // the first line stands behind what the caller wrote
  bool line_has_word = false;
  while (!text.empty()) {
    const std::size_t space = text.find(' ');
    const std::string_view word = text.substr(0, space);
    text = space == std::string_view::npos ? "" : text.substr(space + 1);
    const std::size_t width = width_of(word);
    if (line_has_word && used + 1 + width > columns) {
      lines += "\n" + std::string(indent, ' ');
      used = indent;
      line_has_word = false;
    }
    if (line_has_word) lines += ' ';
    lines += word;
    used += width + (line_has_word ? 1 : 0);
    line_has_word = true;
  }
  return lines;
}

std::string glyph_of(const Style& style, const Stretch& stretch) {
  return style.unicode ? std::string(stretch.glyph) : std::string(1, stretch.ascii);
}

std::vector<std::size_t> cells_of(const std::vector<std::int64_t>& amounts, std::size_t cells) {
  std::vector<std::size_t> shares(amounts.size(), 0);
  double total = 0;
  for (const std::int64_t amount : amounts) total += std::max(0.0, static_cast<double>(amount));
  if (total <= 0 || cells == 0) return shares;
  for (std::size_t i = 0; i < amounts.size(); ++i) {
    if (amounts[i] <= 0) continue;
    const double share = static_cast<double>(amounts[i]) / total * static_cast<double>(cells);
    shares[i] = std::max<std::size_t>(1, static_cast<std::size_t>(share + 0.5));
  }
  // Rounding and the cell that everybody gets are paid for by the longest stretch.
  for (;;) {
    const std::size_t sum = std::accumulate(shares.begin(), shares.end(), std::size_t{0});
    const auto longest = std::max_element(shares.begin(), shares.end());
    if (sum == cells) return shares;
    if (sum < cells) {
      *longest += cells - sum;
    } else {
      *longest -= std::min(sum - cells, std::max<std::size_t>(1, *longest / 2));
    }
  }
}

std::string bar(const Style& style, const std::vector<Stretch>& stretches, std::size_t cells) {
  std::vector<std::int64_t> amounts;
  for (const Stretch& stretch : stretches) amounts.push_back(stretch.amount);
  const std::vector<std::size_t> shares = cells_of(amounts, cells);
  std::string text;
  for (std::size_t i = 0; i < stretches.size(); ++i) {
    std::string run;
    for (std::size_t cell = 0; cell < shares[i]; ++cell) run += glyph_of(style, stretches[i]);
    if (!run.empty()) text += coloured(style, stretches[i].colour, run);
  }
  return text;
}

std::string printable(std::string_view text) {
  std::string plain;
  const auto at = [text](std::size_t i) {
    return i < text.size() ? static_cast<unsigned char>(text[i]) : 0U;
  };
  for (std::size_t i = 0; i < text.size(); ++i) {
    // In UTF-8: C1 controls are 0xc2 0x80 to 0xc2 0x9f; embeddings, overrides and isolates, which
    // turn the rest of a line around, are U+202A to U+202E and U+2066 to U+2069.
    const bool is_c1 = at(i) == 0xc2 && at(i + 1) >= 0x80 && at(i + 1) < 0xa0;
    const bool turns =
        at(i) == 0xe2 && ((at(i + 1) == 0x80 && at(i + 2) >= 0xaa && at(i + 2) <= 0xae) ||
                          (at(i + 1) == 0x81 && at(i + 2) >= 0xa6 && at(i + 2) <= 0xa9));
    plain += is_c1 || turns || at(i) < 0x20 || at(i) == 0x7f ? '?' : text[i];
    i += turns ? 2 : is_c1 ? 1 : 0;
  }
  return plain;
}

}  // namespace gpupool
