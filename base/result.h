#pragma once
// Result<T>: a value or an Error. The way every expected failure travels in gpupool; no exception
// crosses a folder. An Error carries the numbers behind it; its text is made once, at the edge, by
// describe() (actors/describe.h) or, for failures of files and configuration, travels in `detail`.
// Pure value types, usable from any thread.

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

#include "base/ensure.h"

namespace gpupool {

enum class Errc : std::uint16_t {
#define GPUPOOL_ERROR(number, name, unit) name = number,
#include "base/errors.def"
#undef GPUPOOL_ERROR
};

// The code's name as it stands in messages, JSON and documentation, e.g. "quota_exceeded".
constexpr std::string_view name_of(Errc code) {
  switch (code) {
#define GPUPOOL_ERROR(number, name, unit) \
  case Errc::name:                        \
    return #name;
#include "base/errors.def"
#undef GPUPOOL_ERROR
  }
  return "unknown_error";
}

// The unit of Error::want and Error::have for this code, e.g. "ms"; empty when they mean nothing.
constexpr std::string_view unit_of(Errc code) {
  switch (code) {
#define GPUPOOL_ERROR(number, name, unit) \
  case Errc::name:                        \
    return unit;
#include "base/errors.def"
#undef GPUPOOL_ERROR
  }
  return "";
}

struct Error {
  Errc code{};
  std::int64_t want = 0;  // what was asked for, in unit_of(code)
  std::int64_t have = 0;  // what there is or what is allowed, in unit_of(code)
  std::string detail{};   // names, places, the system's own words; never a secret
};

template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : either_(std::in_place_index<0>, std::move(value)) {}
  Result(Error error) : either_(std::in_place_index<1>, std::move(error)) {}

  explicit operator bool() const { return either_.index() == 0; }
  T& operator*() & { return checked(); }
  const T& operator*() const& { return const_cast<Result*>(this)->checked(); }
  T&& operator*() && { return std::move(checked()); }
  T* operator->() { return &checked(); }
  const T* operator->() const { return &const_cast<Result*>(this)->checked(); }

  const Error& error() const {
    GPUPOOL_ENSURE(either_.index() == 1, either_.index());
    return *std::get_if<1>(&either_);
  }

 private:
  T& checked() {
    GPUPOOL_ENSURE(either_.index() == 0, either_.index());
    return *std::get_if<0>(&either_);
  }

  std::variant<T, Error> either_;
};

// The result of something that has no value: `return ok();`
struct Ok {};
using Status = Result<Ok>;
inline Status ok() { return Status{Ok{}}; }

}  // namespace gpupool
