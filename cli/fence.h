#pragma once
// Fence: whether this process may still tell workers and clients anything. A process that was
// stopped, or whose machine slept, may be asked before the thread that renews its lead has looked:
// then the first thing that it would have said ends it. Any thread, once it is raised.

#include <atomic>
#include <functional>
#include <memory>
#include <utility>

#include "base/clock.h"
#include "base/result.h"
#include "base/sure_until.h"

namespace gpupool {

class Fence {
 public:
  // `lost` ends the process.
  explicit Fence(std::function<void(const Error&)> lost) : lost_(std::move(lost)) {}

  // False: nobody else can lead, so there is nothing to ask.
  bool raise(std::shared_ptr<const SureUntil> sure) {
    sure_ = std::move(sure);
    return sure_ != nullptr;
  }
  // From now on the process ends in good order, and what is left to say is dropped.
  void be_silent() { silent_ = true; }

  bool may_speak() const {
    if (sure_->holds(boot_time())) return true;
    if (!silent_)
      lost_({.code = Errc::journal_fenced,
             .detail = "the lead could not be renewed in time, so another broker may have it"});
    return false;
  }

 private:
  const std::function<void(const Error&)> lost_;
  std::shared_ptr<const SureUntil> sure_;
  std::atomic<bool> silent_ = false;
};

}  // namespace gpupool
