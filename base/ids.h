#pragma once
// One type for each kind of id, so that none can stand where another belongs. Plain values.

#include <compare>
#include <cstdint>
#include <functional>
#include <ostream>
#include <string>
#include <tuple>

namespace gpupool {

template <class Tag>
struct Id {
  std::uint64_t value = 0;  // 0 means "none"

  auto fields() { return std::tie(value); }
  explicit operator bool() const { return value != 0; }
  friend auto operator<=>(const Id&, const Id&) = default;
  friend std::ostream& operator<<(std::ostream& out, const Id& id) { return out << id.value; }
};

// A job is named by the journal sequence of its hold: unique in its pool for ever, short enough to
// say aloud, and already the order of arrival. One hold per job, so a hold has no name of its own.
using JobId = Id<struct JobTag>;
using NodeId = Id<struct NodeTag>;        // hash of the node's name, see node_id()
using SessionId = Id<struct SessionTag>;  // counted by the gateway since its start
using LeaseId = Id<struct LeaseTag>;      // job's lease: (epoch, counter) folded by the broker
using Epoch = Id<struct EpochTag>;        // a broker's leadership; grows with every one
using Incarnation = Id<struct IncarnationTag>;  // one run of a worker process

// One slot of one node, counted from 0 over the node's devices in the order of its configuration.
struct SlotIndex {
  std::uint32_t value = 0;
  auto fields() { return std::tie(value); }
  friend auto operator<=>(const SlotIndex&, const SlotIndex&) = default;
  friend std::ostream& operator<<(std::ostream& out, const SlotIndex& slot) {
    return out << slot.value;
  }
};

// Who pays: "user:ada" or "address:192.0.2.7/32". Canonical text, at most
// limits::account_bytes_max.
struct AccountId {
  std::string text;
  auto fields() { return std::tie(text); }
  friend auto operator<=>(const AccountId&, const AccountId&) = default;
  friend std::ostream& operator<<(std::ostream& out, const AccountId& id) { return out << id.text; }
};

// A UUID of version 7 (RFC 9562), chosen by the client; scoped by account.
struct RequestId {
  std::uint64_t high = 0;  // 48 bits of Unix milliseconds, version, 12 random bits
  std::uint64_t low = 0;   // variant and 62 random bits
  auto fields() { return std::tie(high, low); }
  std::int64_t unix_ms() const { return static_cast<std::int64_t>(high >> 16U); }
  friend auto operator<=>(const RequestId&, const RequestId&) = default;
};

struct IdHash {
  template <class Tag>
  std::size_t operator()(const Id<Tag>& id) const {
    return std::hash<std::uint64_t>{}(id.value);
  }
  std::size_t operator()(const AccountId& id) const { return std::hash<std::string>{}(id.text); }
};

}  // namespace gpupool
