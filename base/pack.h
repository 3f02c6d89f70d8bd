#pragma once
// pack() and unpack(): msgpack bytes of any struct that lists its fields(). A struct is an array of
// its fields in order, so fields are append-only: missing trailing fields keep their defaults and
// unknown trailing fields are ignored, which is how old and new bytes understand each other. A
// variant is [index, alternative]; enums are integers; strings that hold bytes are still msgpack
// strings. unpack() never throws and never allocates more than a small multiple of its input.

#include <cstdint>
#include <cstring>
#include <limits>
#include <msgpack.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "base/result.h"
#include "base/shared.h"

namespace gpupool {
namespace detail {

template <class T>
concept HasFields = requires(T& value) {
  value.fields();
};

// std::vector and what behaves like one; a string is text.
template <class T>
concept Sequence = requires(T& value) {
  value.emplace_back();
  value.begin();
  value.size();
};

template <class T>
struct is_shared : std::false_type {};
template <class T>
struct is_shared<Shared<T>> : std::true_type {};

template <class T>
struct is_variant : std::false_type {};
template <class... Ts>
struct is_variant<std::variant<Ts...>> : std::true_type {};

// Appends to a std::string; what msgpack::packer asks of a stream. It writes a byte or a few at a
// time, so they are gathered here first.
class StringSink {
 public:
  explicit StringSink(std::string& out) : out_(out) {}
  void write(const char* bytes, std::size_t size) {
    if (size > sizeof gathered_ - used_) {
      flush();
      if (size > sizeof gathered_) {
        out_.append(bytes, size);
        return;
      }
    }
    std::memcpy(gathered_ + used_, bytes, size);
    used_ += size;
  }
  void flush() {
    out_.append(gathered_, used_);
    used_ = 0;
  }

 private:
  std::string& out_;
  std::size_t used_ = 0;
  char gathered_[512];
};
using Packer = msgpack::packer<StringSink>;

template <class T>
void pack_value(Packer& packer, const T& value) {
  if constexpr (HasFields<T>) {
    // fields() is one list for reading and writing and so is not const; packing only reads.
    std::apply(
        [&](const auto&... field) {
          packer.pack_array(sizeof...(field));
          (pack_value(packer, field), ...);
        },
        const_cast<T&>(value).fields());
  } else if constexpr (is_shared<T>::value) {
    pack_value(packer, *value);
  } else if constexpr (Sequence<T>) {
    packer.pack_array(static_cast<std::uint32_t>(value.size()));
    for (const auto& item : value) pack_value(packer, item);
  } else if constexpr (is_variant<T>::value) {
    packer.pack_array(2);
    packer.pack(static_cast<std::uint32_t>(value.index()));
    std::visit([&](const auto& alternative) { pack_value(packer, alternative); }, value);
  } else if constexpr (std::is_enum_v<T>) {
    packer.pack(static_cast<std::underlying_type_t<T>>(value));
  } else {
    packer.pack(value);
  }
}

template <class T>
bool unpack_value(const msgpack::object& object, T& value);

template <class Variant, std::size_t... Index>
bool unpack_alternative(std::uint64_t which, const msgpack::object& object, Variant& value,
                        std::index_sequence<Index...>) {
  return ((which == Index && unpack_value(object, value.template emplace<Index>())) || ...);
}

template <class T>
bool unpack_integer(const msgpack::object& object, T& value) {
  if (object.type == msgpack::type::POSITIVE_INTEGER) {
    if (!std::in_range<T>(object.via.u64)) return false;
    value = static_cast<T>(object.via.u64);
    return true;
  }
  if (object.type != msgpack::type::NEGATIVE_INTEGER || !std::in_range<T>(object.via.i64))
    return false;
  value = static_cast<T>(object.via.i64);
  return true;
}

template <class T>
bool unpack_array(const msgpack::object& object, T& value) {
  if (object.type != msgpack::type::ARRAY) return false;
  const auto& array = object.via.array;
  if constexpr (HasFields<T>) {
    std::uint32_t place = 0;
    return std::apply(
        [&](auto&... field) {
          return ((place >= array.size || unpack_value(array.ptr[place++], field)) && ...);
        },
        value.fields());
  } else if constexpr (is_variant<T>::value) {
    std::uint64_t which = 0;
    return array.size == 2 && unpack_integer(array.ptr[0], which) &&
           unpack_alternative(which, array.ptr[1], value,
                              std::make_index_sequence<std::variant_size_v<T>>{});
  } else {
    value.clear();
    for (std::uint32_t i = 0; i < array.size; ++i)
      if (!unpack_value(array.ptr[i], value.emplace_back())) return false;
    return true;
  }
}

template <class T>
bool unpack_value(const msgpack::object& object, T& value) {
  if constexpr (is_shared<T>::value) {
    std::remove_cvref_t<decltype(*value)> read{};
    if (!unpack_value(object, read)) return false;
    value = std::move(read);
    return true;
  } else if constexpr (HasFields<T> || Sequence<T> || is_variant<T>::value) {
    return unpack_array(object, value);
  } else if constexpr (std::is_enum_v<T>) {
    std::underlying_type_t<T> number{};
    if (!unpack_integer(object, number)) return false;
    value = static_cast<T>(number);
    return true;
  } else if constexpr (std::is_same_v<T, bool>) {
    if (object.type != msgpack::type::BOOLEAN) return false;
    value = object.via.boolean;
    return true;
  } else if constexpr (std::is_same_v<T, std::string>) {
    if (object.type == msgpack::type::STR) {
      value.assign(object.via.str.ptr, object.via.str.size);
      return true;
    }
    if (object.type != msgpack::type::BIN) return false;
    value.assign(object.via.bin.ptr, object.via.bin.size);
    return true;
  } else {
    static_assert(std::is_integral_v<T>, "a field is a struct, vector, variant, text or integer");
    return unpack_integer(object, value);
  }
}

}  // namespace detail

// Appends the bytes of `value`.
template <class T>
void pack_into(std::string& bytes, const T& value) {
  detail::StringSink sink(bytes);
  detail::Packer packer{sink};
  detail::pack_value(packer, value);
  sink.flush();
}

template <class T>
std::string pack(const T& value) {
  std::string bytes;
  pack_into(bytes, value);
  return bytes;
}

// Exactly one value, with nothing after it.
template <class T>
Result<T> unpack(std::string_view bytes) {
  const Error malformed{.code = Errc::malformed_frame,
                        .have = static_cast<std::int64_t>(bytes.size())};
  if (bytes.empty()) return malformed;
  try {
    // No element is smaller than a byte, so no honest array is longer than the input.
    const msgpack::unpack_limit limit{bytes.size(), 0, bytes.size(), bytes.size(), 0, 16};
    std::size_t offset = 0;
    const auto handle =
        msgpack::unpack(bytes.data(), bytes.size(), offset, nullptr, nullptr, limit);
    T value{};
    if (offset != bytes.size() || !detail::unpack_value(handle.get(), value)) return malformed;
    return value;
  } catch (const std::exception&) {  // msgpack's own errors, and bad_alloc
    return malformed;
  }
}

// FNV-1a over packed bytes: tells one request body from another. Not for secrets.
inline std::uint64_t hash_of(std::string_view bytes) {
  std::uint64_t hash = 0xcbf29ce484222325U;
  for (const char c : bytes) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3U;
  return hash;
}

}  // namespace gpupool
