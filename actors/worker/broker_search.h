#pragma once
// Which of a pool's brokers a worker dials, and when. Only the one that leads listens, so without a
// broker all are dialled side by side: none waits for one that does not answer. A broker that went
// silent without a word is kept while the others are dialled, since it may only be slow; the first
// one that answers takes its place. Pure; time is an argument, the jitter follows a seed.

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "base/prng.h"
#include "base/time.h"

namespace gpupool {

class BrokerSearch {
 public:
  enum class Present : std::uint8_t { answers = 1, silent };

  BrokerSearch(std::vector<std::string> addresses, Prng jitter);

  // The addresses to dial now, by their places; each then counts as dialled until it is answered by
  // failed() or found(). `present` says how the broker is that was met last, if it is not lost.
  std::vector<std::size_t> due(Instant now, Present present);
  void failed(Instant now, std::size_t which);
  // Somebody listens there. Whether it is this worker's broker from now on.
  bool found(Instant now, std::size_t which, Present present);
  void lost(Instant now);  // the present one

  bool has_broker() const { return present_.has_value(); }
  const std::string& address(std::size_t which) const { return all_[which].text; }
  // When there is next something to dial, if nothing else happens.
  Instant next(Present present) const;

 private:
  struct Address {
    std::string text;
    bool dialled = false;
    Instant again{};
  };

  bool is_wanted(std::size_t which, Present present) const;
  Instant after_pause(Instant now);

  std::vector<Address> all_;
  std::optional<std::size_t> present_;
  Prng jitter_;
};

}  // namespace gpupool
