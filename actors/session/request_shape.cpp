#include "actors/session/request_shape.h"

#include <algorithm>

#include "base/pack.h"
#include "config/limits.h"

namespace gpupool {
namespace {

Error bad(std::string detail) { return {.code = Errc::bad_request, .detail = std::move(detail)}; }

Error too_long(const std::string& what, std::size_t bytes, std::int64_t bytes_max) {
  return bad(what + " has " + std::to_string(bytes) + " bytes; at most " +
             std::to_string(bytes_max) + " are allowed");
}

bool exceeds(std::size_t size, std::int64_t size_max) {
  return size > static_cast<std::size_t>(size_max);
}

// Of UTF-8: C0 and DEL are one byte, C1 is 0xc2 0x80 to 0xc2 0x9f.
bool has_control_bytes(std::string_view text) {
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if (byte < 0x20 || byte == 0x7f) return true;
    if (byte == 0xc2 && i + 1 < text.size() && static_cast<unsigned char>(text[i + 1]) < 0xa0)
      return true;
  }
  return false;
}

Status check_name(const std::string& what, const std::string& name) {
  if (exceeds(name.size(), limits::name_bytes_max))
    return too_long(what, name.size(), limits::name_bytes_max);
  if (!is_utf8(name) || has_control_bytes(name)) return bad(what + " is not plain text in UTF-8");
  return ok();
}

Status check_argument(const Argument& argument) {
  if (argument.key.empty()) return bad("an argument has no name");
  if (exceeds(argument.key.size(), limits::argument_key_bytes_max))
    return too_long("an argument's name", argument.key.size(), limits::argument_key_bytes_max);
  if (!is_utf8(argument.key) || has_control_bytes(argument.key))
    return bad("an argument's name is not plain text in UTF-8");
  const std::string what = "argument \"" + argument.key + "\"";
  if (exceeds(argument.value.size(), limits::argument_bytes_max))
    return too_long(what, argument.value.size(), limits::argument_bytes_max);
  if (!is_utf8(argument.value)) return bad(what + " is not UTF-8");
  return ok();
}

// Version 7 and the variant of RFC 9562.
bool is_uuid_7(const RequestId& id) {
  return (id.high & 0xf000U) == 0x7000U && id.low >> 62U == 0b10U;
}

}  // namespace

bool is_utf8(std::string_view text) {
  for (std::size_t i = 0; i < text.size();) {
    const auto byte_at = [&](std::size_t place) {
      return static_cast<std::uint32_t>(static_cast<unsigned char>(text[place]));
    };
    const std::uint32_t first = byte_at(i++);
    if (first < 0x80) continue;
    const std::size_t more = first >= 0xf0 ? 3 : first >= 0xe0 ? 2 : 1;
    if (first < 0xc2 || first > 0xf4 || text.size() - i < more) return false;
    std::uint32_t point = first & (0x3fU >> more);
    for (std::size_t k = 0; k < more; ++k) {
      const std::uint32_t next = byte_at(i++);
      if ((next & 0xc0U) != 0x80U) return false;
      point = point << 6U | (next & 0x3fU);
    }
    const bool overlong = (more == 2 && point < 0x800) || (more == 3 && point < 0x10000);
    const bool surrogate = point >= 0xd800 && point <= 0xdfff;
    if (overlong || surrogate || point > 0x10ffff) return false;
  }
  return true;
}

Status check_shape(const ClientSubmit& submit) {
  if (!is_uuid_7(submit.request)) return bad("the request id is not a UUID of version 7");
  return check_shape(submit.body);
}

Status check_shape(const JobRequest& body) {
  if (body.app.empty()) return bad("the request names no app");
  if (Status status = check_name("the app's name", body.app); !status) return status;
  if (Status status = check_name("the size's name", body.size); !status) return status;
  if (exceeds(body.arguments.size(), limits::argument_count_max))
    return bad(std::to_string(body.arguments.size()) + " arguments; at most " +
               std::to_string(limits::argument_count_max) + " are allowed");
  for (const Argument& argument : body.arguments)
    if (Status status = check_argument(argument); !status) return status;
  const std::size_t bytes = pack(body).size();
  if (exceeds(bytes, limits::request_bytes_max))
    return too_long("the whole request", bytes, limits::request_bytes_max);
  return ok();
}

Status check_shape(const ClientUpload& upload) {
  if (upload.hash.size() != 64 ||
      upload.hash.find_first_not_of("0123456789abcdef") != std::string::npos)
    return bad("an upload is named by its SHA-256, 64 small hexadecimal digits");
  if (upload.total < 1 || upload.total > limits::files_bytes_max)
    return bad("the files have " + std::to_string(upload.total) + " bytes as an archive; 1 to " +
               std::to_string(limits::files_bytes_max) + " are allowed");
  if (upload.bytes.empty()) return ok();  // a question
  const std::int64_t left = upload.total - upload.offset;
  if (upload.offset < 0 || left < 1 || upload.offset % limits::upload_piece_bytes != 0 ||
      std::ssize(upload.bytes) != std::min(left, limits::upload_piece_bytes))
    return bad("a piece of an upload begins at a multiple of " +
               std::to_string(limits::upload_piece_bytes) +
               " bytes and has so many, or all that is left");
  return ok();
}

Status check_words(const std::vector<std::string>& words) {
  if (words.empty()) return bad("the command has no words; `help` lists what there is");
  if (exceeds(words.size(), limits::operate_words_max))
    return bad("the command has " + std::to_string(words.size()) + " words; at most " +
               std::to_string(limits::operate_words_max) + " are allowed");
  for (std::size_t i = 0; i < words.size(); ++i) {
    const std::string what = "word " + std::to_string(i + 1) + " of the command";
    if (words[i].empty()) return bad(what + " is empty; leave it out, or give it a value");
    if (exceeds(words[i].size(), limits::announcement_bytes_max))
      return too_long(what, words[i].size(), limits::announcement_bytes_max);
    if (!is_utf8(words[i])) return bad(what + " is not UTF-8");
    if (has_control_bytes(words[i]))
      return bad(what + " has a control character, such as a line break or a tab; it is one line");
  }
  return ok();
}

}  // namespace gpupool
