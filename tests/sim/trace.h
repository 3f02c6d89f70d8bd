#pragma once
// What a simulation says about itself: every message's name and fields, walked from fields(), and
// how often each message type and each error code was seen. Pure values.

#include <cstdint>
#include <map>
#include <ostream>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "actors/effects.h"
#include "base/pack.h"

namespace gpupool::sim {

template <class T>
constexpr std::string_view type_name() {
  std::string_view text = __PRETTY_FUNCTION__;  // "... [with T = gpupool::Submit; ...]"
  text = text.substr(text.find("T = ") + 4);
  text = text.substr(0, text.find_first_of(";]"));
  const auto last = text.rfind("::");
  return last == std::string_view::npos ? text : text.substr(last + 2);
}

// Calls `visit` with every leaf of `value` that lists its fields, or with the value itself.
template <class T, class Visit>
void each_leaf(const T& value, const Visit& visit) {
  if constexpr (detail::HasFields<T>) {
    std::apply([&](const auto&... field) { (each_leaf(field, visit), ...); },
               const_cast<T&>(value).fields());
  } else if constexpr (detail::is_shared<T>::value) {
    each_leaf(*value, visit);
  } else if constexpr (detail::Sequence<T>) {
    for (const auto& one : value) each_leaf(one, visit);
  } else {
    visit(value);
  }
}

struct Coverage {
  std::map<std::string, std::uint64_t, std::less<>> messages;
  std::map<Errc, std::uint64_t> codes;
  std::map<std::string, std::uint64_t, std::less<>> events;  // faults and rare turns

  template <class... Alternatives>
  void saw(const std::variant<Alternatives...>& message) {
    std::visit([this](const auto& one) { saw_one(one); }, message);
  }
  void add(const Coverage& other) {
    for (const auto& [name, count] : other.messages) messages[name] += count;
    for (const auto& [code, count] : other.codes) codes[code] += count;
    for (const auto& [name, count] : other.events) events[name] += count;
  }
  // "a worker dies 238; ..."
  std::string summary() const {
    std::string text;
    for (const auto& [name, count] : events)
      text += (text.empty() ? "" : "; ") + name + " " + std::to_string(count);
    return text;
  }

 private:
  template <class Message>
  void saw_one(const Message& message) {
    ++messages[std::string(type_name<Message>())];
    // A Reserve carries what the broker found; whether a caller hears of it is the ledger's to say.
    if constexpr (!std::is_same_v<Message, Reserve>)
      each_leaf(message, [this](const auto& leaf) {
        if constexpr (std::is_same_v<std::decay_t<decltype(leaf)>, Errc>)
          if (leaf != Errc{}) ++codes[leaf];
      });
  }
};

template <class... Alternatives>
std::vector<std::string> names_of(const std::variant<Alternatives...>*) {
  return {std::string(type_name<Alternatives>())...};
}

// "Lease 7 1 3 1 5 0 12 draw": the message and its leaves in order, empty ones left out.
template <class... Alternatives>
void print(std::ostream& out, const std::variant<Alternatives...>& message) {
  std::visit(
      [&](const auto& one) {
        out << type_name<std::decay_t<decltype(one)>>();
        each_leaf(one, [&](const auto& leaf) {
          using Leaf = std::decay_t<decltype(leaf)>;
          if constexpr (std::is_same_v<Leaf, Errc>) {
            if (leaf != Errc{}) out << ' ' << name_of(leaf);
          } else if constexpr (std::is_enum_v<Leaf>) {
            out << ' ' << static_cast<int>(leaf);
          } else {
            if (leaf != Leaf{}) out << ' ' << leaf;
          }
        });
      },
      message);
}

}  // namespace gpupool::sim
