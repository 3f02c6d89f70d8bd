#include "config/key_file.h"

#include <algorithm>
#include <cstdint>

namespace gpupool {
namespace {

constexpr std::size_t key_bytes = 32;
constexpr std::size_t z85_characters = 40;

// What stands before the 32 bytes in the only DER that RFC 8410 allows for such a key.
constexpr std::string_view spki_start{"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00", 12};
constexpr std::string_view pkcs8_start{
    "\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20", 16};

// How one kind of key is written in PEM.
struct PemForm {
  std::string_view label;
  std::string_view der_start;
};
constexpr PemForm public_form{"PUBLIC KEY", spki_start};
constexpr PemForm secret_form{"PRIVATE KEY", pkcs8_start};

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view spaces = " \t\r\n";
  const std::size_t first = text.find_first_not_of(spaces);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(spaces) - first + 1);
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

std::optional<std::string> from_hex(std::string_view text) {
  std::string bytes;
  for (std::size_t i = 0; i + 1 < text.size(); i += 2) {
    const int high = hex_digit(text[i]);
    const int low = hex_digit(text[i + 1]);
    if (high < 0 || low < 0) return std::nullopt;
    bytes += static_cast<char>(high * 16 + low);
  }
  return bytes;
}

std::optional<std::string> from_pem(std::string_view text, const PemForm& form) {
  const std::string begin = "-----BEGIN " + std::string(form.label) + "-----";
  const std::string end = "-----END " + std::string(form.label) + "-----";
  if (!text.starts_with(begin) || !text.ends_with(end) || text.size() < begin.size() + end.size())
    return std::nullopt;
  text = text.substr(begin.size(), text.size() - begin.size() - end.size());
  const auto der = base64_bytes(trimmed(text));
  if (!der || !der->starts_with(form.der_start) || der->size() != form.der_start.size() + key_bytes)
    return std::nullopt;
  return der->substr(form.der_start.size());
}

std::optional<std::string> key_in(std::string_view text, const PemForm& form) {
  text = trimmed(text);
  if (text.starts_with("-----")) return from_pem(text, form);
  auto key = text.size() == 2 * key_bytes ? from_hex(text) : base64_bytes(text);
  if (!key || key->size() != key_bytes) return std::nullopt;
  return key;
}

}  // namespace

// Lines may be broken, as PEM does.
std::optional<std::string> base64_bytes(std::string_view text) {
  constexpr std::string_view alphabet =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
  while (text.ends_with('=')) text.remove_suffix(1);
  std::string bytes;
  std::uint32_t bits = 0;
  unsigned count = 0;
  for (const char c : text) {
    if (c == '\n' || c == '\r') continue;
    const std::size_t place = alphabet.find(c);
    const bool found = place != std::string_view::npos;
    if (!found && c != '+' && c != '-' && c != '/' && c != '_') return std::nullopt;
    const std::size_t digit = found ? place : c == '+' || c == '-' ? 62 : 63;
    bits = bits << 6U | static_cast<std::uint32_t>(digit);
    count += 6;
    if (count < 8) continue;
    count -= 8;
    bytes += static_cast<char>(bits >> count & 0xffU);
  }
  // Bits left over must be none or zero, so that every key has one spelling.
  if (count >= 6 || (bits & ((1U << count) - 1U)) != 0) return std::nullopt;
  return bytes;
}

std::optional<std::string> ed25519_public_key_in(std::string_view text) {
  return key_in(text, public_form);
}

std::optional<std::string> ed25519_seed(std::string_view text) { return key_in(text, secret_form); }

bool is_z85_key(std::string_view text) {
  constexpr std::string_view alphabet =
      "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#";
  return text.size() == z85_characters && std::all_of(text.begin(), text.end(), [&](char c) {
           return alphabet.find(c) != std::string_view::npos;
         });
}

}  // namespace gpupool
