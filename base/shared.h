#pragma once
// Shared<T>: an immutable value that many may own. Copies cost a count, whoever holds one reads the
// same T for as long as it likes, and to change it is to make another. Empty, it reads as T{}.
// Packs as its T. Thread-safe as far as T's const functions are.

#include <memory>
#include <utility>

namespace gpupool {

template <class T>
class Shared {
 public:
  Shared() = default;
  Shared(const T& value) : value_(std::make_shared<const T>(value)) {}        // NOLINT: meant
  Shared(T&& value) : value_(std::make_shared<const T>(std::move(value))) {}  // NOLINT: meant

  const T& operator*() const { return value_ ? *value_ : empty(); }
  const T* operator->() const { return &**this; }
  operator const T&() const { return **this; }  // NOLINT: reads as its T wherever one is asked for

 private:
  static const T& empty() {
    static const T nothing{};
    return nothing;
  }

  std::shared_ptr<const T> value_;
};

}  // namespace gpupool
