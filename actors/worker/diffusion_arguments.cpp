#include "actors/worker/diffusion_arguments.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <string_view>

namespace gpupool {
namespace {

constexpr std::size_t prompt_bytes_max = 1000;
constexpr std::uint32_t steps_max = 10'000;
constexpr double guidance_max = 20;
constexpr std::size_t decimal_bytes_max = 16;
constexpr std::array<std::uint32_t, 5> pixels_allowed{32, 64, 128, 256, 512};

// A caller's text as it may stand in an error: short, and plain on any terminal.
std::string in_quotes(std::string_view text) {
  constexpr std::size_t shown_max = 40;
  std::string shown = "\"";
  for (const char c : text.substr(0, shown_max)) shown += c >= ' ' && c <= '~' ? c : '?';
  return shown + (text.size() > shown_max ? "...\"" : "\"");
}

Error refused(const Argument& argument, std::string_view may_be) {
  return {.code = Errc::bad_request,
          .detail = argument.key + " must be " + std::string(may_be) + ", not " +
                    in_quotes(argument.value)};
}

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view spaces = " \t\r\n";
  const auto first = text.find_first_not_of(spaces);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(spaces) - first + 1);
}

// Decodes one code point and cuts it off `text`; 0 if the bytes are not UTF-8 (RFC 3629: no
// overlong forms, no surrogates, nothing above U+10FFFF). A NUL reads as 0 too, which is refused
// all the same.
std::uint32_t next_code_point(std::string_view& text) {
  const auto byte = [&](std::size_t i) -> std::uint32_t {
    return i < text.size() ? static_cast<unsigned char>(text[i]) : 0;
  };
  const std::uint32_t lead = byte(0);
  std::size_t length = 1;
  std::uint32_t code = lead;
  std::uint32_t smallest = 0;
  if (lead >= 0xf0 && lead < 0xf8) {
    length = 4, code = lead & 0x07U, smallest = 0x10000;
  } else if (lead >= 0xe0 && lead < 0xf0) {
    length = 3, code = lead & 0x0fU, smallest = 0x800;
  } else if (lead >= 0xc0 && lead < 0xe0) {
    length = 2, code = lead & 0x1fU, smallest = 0x80;
  } else if (lead >= 0x80) {
    return 0;
  }
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0U) != 0x80U) return 0;
    code = code << 6U | (byte(i) & 0x3fU);
  }
  if (code < smallest || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff)) return 0;
  text.remove_prefix(length);
  return code;
}

bool is_plain_text(std::string_view text) {
  while (!text.empty()) {
    const std::uint32_t code = next_code_point(text);
    if (code < 0x20 || (code >= 0x7f && code <= 0x9f)) return false;
  }
  return true;
}

template <class Number>
bool read_whole(std::string_view text, Number& number) {
  const char* end = text.data() + text.size();
  const auto [stop, failure] = std::from_chars(text.data(), end, number);
  return failure == std::errc{} && stop == end;
}

// Plain decimals only: from_chars alone would also take "inf" and "nan".
bool read_decimal(std::string_view text, double& number) {
  if (text.size() > decimal_bytes_max ||
      text.find_first_not_of("0123456789.") != std::string_view::npos)
    return false;
  const char* end = text.data() + text.size();
  const auto [stop, failure] = std::from_chars(text.data(), end, number, std::chars_format::fixed);
  return failure == std::errc{} && stop == end;
}

Status read_prompt(const Argument& argument, DiffusionArguments& into) {
  const std::string_view prompt = trimmed(argument.value);
  if (prompt.empty() || prompt.size() > prompt_bytes_max)
    return refused(argument, "1 to 1000 bytes of text");
  if (!is_plain_text(prompt))
    return refused(argument, "one line of UTF-8 text without control characters");
  into.prompt = prompt;
  return ok();
}

Status read_steps(const Argument& argument, DiffusionArguments& into) {
  if (!read_whole(argument.value, into.steps) || into.steps < 1 || into.steps > steps_max)
    return refused(argument, "a whole number from 1 to 10000");
  return ok();
}

Status read_seed(const Argument& argument, DiffusionArguments& into) {
  if (!read_whole(argument.value, into.seed))
    return refused(argument, "a whole number from 0 to 18446744073709551615");
  return ok();
}

Status read_guidance(const Argument& argument, DiffusionArguments& into) {
  if (!read_decimal(argument.value, into.guidance) || into.guidance > guidance_max)
    return refused(argument, "a decimal number from 0 to 20");
  return ok();
}

Status read_pixels(const Argument& argument, DiffusionArguments& into) {
  if (!read_whole(argument.value, into.pixels) ||
      std::find(pixels_allowed.begin(), pixels_allowed.end(), into.pixels) == pixels_allowed.end())
    return refused(argument, "one of 32, 64, 128, 256 and 512");
  return ok();
}

struct Key {
  std::string_view name;
  Status (*read)(const Argument&, DiffusionArguments&);
};

constexpr std::array<Key, 5> keys{{{"prompt", read_prompt},
                                   {"steps", read_steps},
                                   {"seed", read_seed},
                                   {"guidance", read_guidance},
                                   {"pixels", read_pixels}}};

}  // namespace

Result<DiffusionArguments> parse_diffusion_arguments(const std::vector<Argument>& arguments) {
  DiffusionArguments read;
  std::array<bool, keys.size()> given{};
  for (const Argument& argument : arguments) {
    const auto key = std::find_if(keys.begin(), keys.end(),
                                  [&](const Key& one) { return one.name == argument.key; });
    if (key == keys.end())
      return Error{.code = Errc::bad_request,
                   .detail = "there is no argument " + in_quotes(argument.key) +
                             "; the arguments are prompt, steps, seed, guidance and pixels"};
    bool& before = given[static_cast<std::size_t>(key - keys.begin())];
    if (before) return Error{.code = Errc::bad_request, .detail = argument.key + " is given twice"};
    before = true;
    if (const Status status = key->read(argument, read); !status) return status.error();
  }
  if (!given[0])
    return Error{.code = Errc::bad_request, .detail = "prompt is missing: 1 to 1000 bytes of text"};
  return read;
}

}  // namespace gpupool
