// Comm over gloo's TCP transport.

#include <gloo/allreduce.h>
#include <gloo/barrier.h>
#include <gloo/broadcast.h>
#include <gloo/math.h>
#include <gloo/rendezvous/context.h>
#include <gloo/rendezvous/store.h>
#include <gloo/transport/tcp/device.h>
#include <gloo/types.h>

#include <chrono>
#include <condition_variable>
#include <cstring>
#include <map>
#include <mutex>

#include "base/ensure.h"
#include "gpu/comm.h"
#include "gpu/comm_failure.h"
#include "gpu/comm_shapes.h"

namespace gpupool {
namespace {

std::chrono::milliseconds milliseconds_of(Duration duration) {
  return std::chrono::milliseconds(duration.ms);
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
      return ranks_failed("nobody left \"" + key + "\"");
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
      : context_(std::move(context)), ending_([this] { context_->closeConnections(); }) {}

  std::int32_t rank() const override { return context_->rank; }
  std::int32_t size() const override { return context_->size; }
  void start_gather(ConstActivations mine, const std::vector<std::int64_t>& rows,
                    Activations all) override;
  void finish_gathers() override;
  void all_reduce(Matrix sum) override;
  void broadcast(Activations values, std::int32_t root) override;
  void barrier() override;
  Status status() const override { return ending_.status(); }
  void abort() noexcept override { ending_.fail(ranks_failed("it was called off")); }

 private:
  struct Gather {
    std::unique_ptr<gloo::transport::UnboundBuffer> all;
    std::int32_t sends = 0;
    std::int32_t receipts = 0;
  };

  template <class Operation>
  void run(const Operation& operation) noexcept;

  const std::shared_ptr<gloo::rendezvous::Context> context_;
  std::vector<Gather> gathers_;  // under way
  std::uint32_t operations_ = 0;
  Ending ending_;
};

// A rank whose operation failed is out of step: its end tells the others.
template <class Operation>
void GlooComm::run(const Operation& operation) noexcept try {
  if (status()) operation(operations_++);
} catch (const std::exception& error) {
  ending_.fail(ranks_failed(error.what()));
}

// The threads of gloo's sockets carry the rows between their places in `all`, from each rank to
// each other, while this one goes on.
void GlooComm::start_gather(ConstActivations mine, const std::vector<std::int64_t>& rows,
                            Activations all) {
  check_gather(*this, mine, rows, all);
  const Activations own = all.row_block(first_row(rows, rank()), mine.rows);
  const auto width = static_cast<std::size_t>(row_bytes(all));
  if (own.values != mine.values)
    for (std::int64_t r = 0; r < mine.rows; ++r)
      std::memcpy(own.row_block(r, 1).values, mine.row_block(r, 1).values, width);
  run([&](std::uint32_t tag) {
    const auto slot = gloo::Slot::build(gloo::kAllgatherSlotPrefix, tag);
    const auto bytes_before = [&](std::int32_t of) {
      return static_cast<std::size_t>(first_row(rows, of)) * width;
    };
    Gather gather{.all = context_->createUnboundBuffer(all.values, bytes_before(size()))};
    for (std::int32_t i = 1; i < size(); ++i) {
      const std::int32_t other = (rank() + i) % size();
      const std::size_t theirs = bytes_before(other + 1) - bytes_before(other);
      const std::size_t ours = bytes_before(rank() + 1) - bytes_before(rank());
      if (theirs > 0) gather.all->recv(other, slot, bytes_before(other), theirs);
      if (ours > 0) gather.all->send(other, slot, bytes_before(rank()), ours);
      gather.receipts += theirs > 0 ? 1 : 0;
      gather.sends += ours > 0 ? 1 : 0;
    }
    gathers_.push_back(std::move(gather));
  });
}

void GlooComm::finish_gathers() {
  run([&](std::uint32_t) {
    for (const Gather& gather : gathers_) {
      for (std::int32_t i = 0; i < gather.receipts; ++i)
        if (!gather.all->waitRecv(context_->getTimeout())) throw gloo::IoException("cut off");
      for (std::int32_t i = 0; i < gather.sends; ++i)
        if (!gather.all->waitSend(context_->getTimeout())) throw gloo::IoException("cut off");
    }
  });
  gathers_.clear();
}

// Round a ring: each value is summed up by one rank and handed on to the others.
void GlooComm::all_reduce(Matrix sum) {
  check_all_reduce(sum);
  if (sum.rows * sum.columns == 0) return;
  run([&](std::uint32_t tag) {
    gloo::AllreduceOptions options(context_);
    options.setAlgorithm(gloo::AllreduceOptions::Algorithm::RING);
    options.setOutput(sum.values, static_cast<std::size_t>(sum.rows * sum.columns));
    options.setReduceFunction([](void* out, const void* a, const void* b, std::size_t count) {
      gloo::sum<float>(out, a, b, count);
    });
    options.setTag(tag);
    gloo::allreduce(options);
  });
}

void GlooComm::broadcast(Activations values, std::int32_t root) {
  check_broadcast(*this, values, root);
  if (values.rows * values.columns == 0) return;
  run([&](std::uint32_t tag) {
    gloo::BroadcastOptions options(context_);
    options.setOutput(values.values, static_cast<std::size_t>(values.rows * row_bytes(values)));
    options.setRoot(root);
    options.setTag(tag);
    gloo::broadcast(options);
  });
}

void GlooComm::barrier() {
  run([&](std::uint32_t tag) {
    gloo::BarrierOptions options(context_);
    options.setTag(tag);
    gloo::barrier(options);
  });
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
  return ranks_failed(error.what());
}

}  // namespace gpupool
