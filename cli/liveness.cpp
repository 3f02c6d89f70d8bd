#include "cli/liveness.h"

#include <limits>

namespace gpupool {
namespace {

// The gateway counts sessions from 1 and never gets here.
constexpr SessionId asker_id{std::numeric_limits<std::uint64_t>::max()};
const AccountId nobody{"nobody"};

}  // namespace

// Asks at every Tick; any other message is an answer.
class Liveness::Asker : public SessionHandle::base {
 public:
  Asker(caf::actor_config& config, std::shared_ptr<Directory> directory, WorkerHandle worker,
        std::shared_ptr<Counts> counts)
      : SessionHandle::base(config),
        directory_(std::move(directory)),
        worker_(std::move(worker)),
        counts_(std::move(counts)) {}

 private:
  behavior_type make_behavior() override {
    return {[this](const Envelope<ToSession>& envelope) {
      if (std::holds_alternative<Tick>(envelope.message))
        ask();
      else
        --counts_->unanswered;
    }};
  }

  void ask() {
    if (const auto broker = directory_->broker(); broker && directory_->ledger())
      put(broker, ToBroker{JobsQuery{.session = asker_id, .query = 1, .account = nobody}});
    if (const auto ledger = directory_->ledger())
      put(ledger, ToLedger{ReceiptQuery{.session = asker_id, .query = 1, .account = nobody}});
    if (worker_) put(worker_, ToWorker{FetchResult{.session = asker_id, .query = 1}});
    --counts_->unanswered;  // the Tick itself
  }

  template <class Handle, class Variant>
  void put(const Handle& handle, Variant message) {
    ++counts_->unanswered;
    send(handle, Envelope<Variant>{std::move(message)});
  }

  const std::shared_ptr<Directory> directory_;
  const WorkerHandle worker_;
  const std::shared_ptr<Counts> counts_;
};

Liveness::Liveness(caf::actor_system& system, std::shared_ptr<Directory> directory,
                   WorkerHandle worker)
    : directory_(std::move(directory)),
      asker_(system.spawn<Asker>(directory_, std::move(worker), counts_)) {
  directory_->set_session(asker_id, asker_);
}

Liveness::~Liveness() { directory_->forget_session(asker_id); }

bool Liveness::ask() {
  if (counts_->unanswered > 0) return false;
  counts_->unanswered = 1;  // the Tick
  post<ToSession>(asker_, Tick{});
  return true;
}

}  // namespace gpupool
