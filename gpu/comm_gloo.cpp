// Comm over gloo's TCP transport.

#include <gloo/allgatherv.h>
#include <gloo/barrier.h>
#include <gloo/rendezvous/context.h>
#include <gloo/rendezvous/store.h>
#include <gloo/transport/tcp/device.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <map>
#include <mutex>
#include <numeric>
#include <optional>

#include "base/ensure.h"
#include "gpu/comm.h"

namespace gpupool {
namespace {

std::chrono::milliseconds milliseconds_of(Duration duration) {
  return std::chrono::milliseconds(duration.ms);
}

Error failed(const std::string& what) {
  return {.code = Errc::device_failed, .detail = "the ranks of the picture: " + what};
}

class SharedRendezvous final : public Rendezvous {
 public:
  void put(const std::string& key, const std::string& value) override {
    const std::lock_guard lock(mutex_);
    values_[key] = value;
    changed_.notify_all();
  }
  Result<std::string> get(const std::string& key, Duration limit) override {
    std::unique_lock lock(mutex_);
    if (!changed_.wait_for(lock, milliseconds_of(limit), [&] { return values_.contains(key); }))
      return failed("nobody left \"" + key + "\"");
    return values_.at(key);
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::string, std::string> values_;
};

// What gloo asks for when ranks connect.
class Store final : public gloo::rendezvous::Store {
 public:
  Store(Rendezvous& rendezvous, Duration limit) : rendezvous_(rendezvous), limit_(limit) {}

  void set(const std::string& key, const std::vector<char>& value) override {
    rendezvous_.put(key, {value.begin(), value.end()});
  }
  std::vector<char> get(const std::string& key) override {
    const Result<std::string> value = rendezvous_.get(key, limit_);
    if (!value) throw gloo::IoException(value.error().detail);
    return {value->begin(), value->end()};
  }
  void wait(const std::vector<std::string>& keys) override {
    for (const std::string& key : keys) get(key);
  }
  void wait(const std::vector<std::string>& keys, const std::chrono::milliseconds&) override {
    wait(keys);
  }

 private:
  Rendezvous& rendezvous_;
  const Duration limit_;
};

class GlooComm final : public Comm {
 public:
  explicit GlooComm(std::shared_ptr<gloo::rendezvous::Context> context)
      : context_(std::move(context)) {}

  std::int32_t rank() const override { return context_->rank; }
  std::int32_t size() const override { return context_->size; }
  void all_gather(ConstActivations mine, const std::vector<std::int64_t>& rows,
                  Activations all) override;
  void barrier() override;
  Status status() const override {
    if (failure_) return *failure_;
    return ok();
  }
  void abort() noexcept override;

 private:
  template <class Operation>
  void run(const Operation& operation) noexcept;

  const std::shared_ptr<gloo::rendezvous::Context> context_;
  std::vector<std::byte> mine_;  // without gaps between the rows, as gloo wants them
  std::vector<std::byte> all_;
  std::uint32_t operations_ = 0;
  std::atomic<bool> aborted_{false};
  std::optional<Error> failure_;
};

template <class Operation>
void GlooComm::run(const Operation& operation) noexcept try {
  if (failure_) return;
  if (aborted_) throw gloo::IoException("it was called off");
  operation(operations_++);
} catch (const std::exception& error) {
  failure_ = failed(error.what());
  abort();  // the others need not wait for a rank that is out of step
}

// Copies between a view and rows that lie one behind the other.
template <class Copy>
void over_rows(const ConstActivations& view, const Copy& copy) {
  const std::int64_t pitch = view.stride * bytes_of(view.dtype);
  const std::int64_t width = view.columns * bytes_of(view.dtype);
  for (std::int64_t r = 0; r < view.rows; ++r) copy(r * pitch, r * width, width);
}

void GlooComm::all_gather(ConstActivations mine, const std::vector<std::int64_t>& rows,
                          Activations all) {
  GPUPOOL_ENSURE(std::ssize(rows) == size() &&
                     mine.rows == rows[static_cast<std::size_t>(rank())] &&
                     all.rows == std::accumulate(rows.begin(), rows.end(), std::int64_t{0}) &&
                     mine.columns == all.columns && mine.dtype == all.dtype,
                 mine.rows, all.rows, mine.columns, all.columns);
  const std::int64_t width = all.columns * bytes_of(all.dtype);
  mine_.resize(static_cast<std::size_t>(mine.rows * width));
  all_.resize(static_cast<std::size_t>(all.rows * width));
  over_rows(mine, [&](std::int64_t from, std::int64_t to, std::int64_t bytes) {
    std::memcpy(mine_.data() + to, mine.values + from, static_cast<std::size_t>(bytes));
  });
  run([&](std::uint32_t tag) {
    std::vector<std::size_t> bytes;
    for (const std::int64_t count : rows) bytes.push_back(static_cast<std::size_t>(count * width));
    gloo::AllgathervOptions options(context_);
    options.setInput(mine_.data(), mine_.size());
    options.setOutput(all_.data(), bytes);
    options.setTag(tag);
    gloo::allgatherv(options);
  });
  if (failure_) return;
  over_rows(all, [&](std::int64_t to, std::int64_t from, std::int64_t bytes) {
    std::memcpy(all.values + to, all_.data() + from, static_cast<std::size_t>(bytes));
  });
}

void GlooComm::barrier() {
  run([&](std::uint32_t tag) {
    gloo::BarrierOptions options(context_);
    options.setTag(tag);
    gloo::barrier(options);
  });
}

void GlooComm::abort() noexcept try {
  if (!aborted_.exchange(true)) context_->closeConnections();
} catch (const std::exception&) {
  // They are closed, or never were open.
}

}  // namespace

std::shared_ptr<Rendezvous> make_shared_rendezvous() {
  return std::make_shared<SharedRendezvous>();
}

Result<std::unique_ptr<Comm>> make_gloo_comm(const CommOptions& options,
                                             Rendezvous& rendezvous) try {
  GPUPOOL_ENSURE(options.rank >= 0 && options.rank < options.size, options.rank, options.size);
  gloo::transport::tcp::attr attributes;
  attributes.hostname = options.address;
  auto device = gloo::transport::tcp::CreateDevice(attributes);
  auto context = std::make_shared<gloo::rendezvous::Context>(options.rank, options.size);
  context->setTimeout(milliseconds_of(options.timeout));
  Store store(rendezvous, options.timeout);
  context->connectFullMesh(store, device);
  return std::unique_ptr<Comm>(std::make_unique<GlooComm>(std::move(context)));
} catch (const std::exception& error) {
  return failed(error.what());
}

}  // namespace gpupool
