#pragma once
// How the ranks that draw one picture together talk to each other. Each rank has its own process,
// device and Comm; all of them call the same operations in the same order. An operation comes after
// what its device was given before, and what the device is given next comes after it. When a rank
// is gone, hangs or aborts, the operations of the others fail, at the latest after the timeout;
// from the first failure on nothing is sent any more, and what was received is worth nothing. A
// device does not record operations (Device::repeat). One thread, but for status() and abort().

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/time.h"
#include "gpu/tensor.h"

namespace gpupool {

// Where ranks that have yet to find each other leave their addresses. Any thread.
class Rendezvous {
 public:
  virtual ~Rendezvous() = default;
  virtual void put(const std::string& key, const std::string& value) = 0;
  // Waits for it; device_failed after `limit`.
  virtual Result<std::string> get(const std::string& key, Duration limit) = 0;
};

// For ranks of one process.
std::shared_ptr<Rendezvous> make_shared_rendezvous();

struct CommOptions {
  std::int32_t rank = 0;
  std::int32_t size = 1;
  Duration timeout = seconds(10);     // of an operation, and of finding each other
  std::string address = "127.0.0.1";  // that this rank listens on
};

class Comm {
 public:
  virtual ~Comm() = default;

  virtual std::int32_t rank() const = 0;
  virtual std::int32_t size() const = 0;

  // `all` gets the rows of every rank, in the order of the ranks: rows[r] of rank r, which gives
  // them as `mine`. Both are f32 or both bf16, and `all` has no gaps between its rows. `mine` may
  // be where it belongs in `all` already.
  void all_gather(ConstActivations mine, const std::vector<std::int64_t>& rows, Activations all) {
    start_gather(mine, rows, all);
    finish_gathers();
  }
  // The same beside what the device is given until finish_gathers(), which ends all that were
  // started: until then nobody writes to `mine` or touches `all`, and no other operation starts.
  virtual void start_gather(ConstActivations mine, const std::vector<std::int64_t>& rows,
                            Activations all) = 0;
  virtual void finish_gathers() = 0;
  // Every rank gets the sum over all ranks, each value by value, in place: the same bits
  // everywhere. No gaps between rows.
  virtual void all_reduce(Matrix sum) = 0;
  // Every rank gets what the root has. No gaps between rows.
  virtual void broadcast(Activations values, std::int32_t root) = 0;
  // Returns when all ranks have come to it with all that their devices were given.
  virtual void barrier() = 0;
  // The first failure of all operations that are over. Any thread.
  virtual Status status() const = 0;
  // Ends the operations of all ranks, this one's too, as failed. Any thread.
  virtual void abort() noexcept = 0;
};

// Over TCP, by gloo, for devices whose memory is the host's. device_failed: the others did not come
// in time.
Result<std::unique_ptr<Comm>> make_gloo_comm(const CommOptions& options, Rendezvous& rendezvous);

}  // namespace gpupool
