#pragma once
// The shell that every core shares: a typed actor that reads its clock, steps its core and performs
// the effects. It decides nothing. What a role adds (learning handles, ending, batching) overrides
// take(). Runs on CAF's scheduler; a core is only ever touched by its own actor.

#include <chrono>
#include <memory>
#include <utility>

#include "actors/perform.h"

namespace gpupool {

template <class Core, class ToCore>
class CoreActor : public HandleOf<ToCore>::base {
 public:
  using Base = typename HandleOf<ToCore>::base;
  using behavior_type = typename Base::behavior_type;

  CoreActor(caf::actor_config& config, Surroundings around, std::unique_ptr<Core> core)
      : Base(config), around_(std::move(around)), core_(std::move(core)) {}

 protected:
  behavior_type make_behavior() override {
    return {[this](const Envelope<ToCore>& envelope) {
      if (std::holds_alternative<Tick>(envelope.message)) alarm_.rang(around_.now());
      take(envelope.message);
    }};
  }

  virtual void take(const ToCore& message) {
    use_present_config();
    carry_out(core_->step(around_.now(), message));
  }

  void carry_out(Effects effects) {
    perform(*this, *around_.directory, std::move(effects.send));
    wake_at(effects.wake_at);
  }

  void wake_at(Instant wanted) {
    const Duration delay = alarm_.arm(around_.now(), wanted);
    if (delay >= Duration{})
      this->delayed_send(this, std::chrono::milliseconds(delay.ms), Envelope<ToCore>{Tick{}});
  }

  // A reload of the configuration reaches a core that can use it before its next message.
  void use_present_config() {
    if constexpr (requires(Core & core, const Config& config) { core.use(config); })
      if (const auto version = around_.config.version();
          std::exchange(config_version_, version) != version)
        core_->use(around_.config.current());
  }

  Core& core() { return *core_; }
  const Surroundings& around() const { return around_; }

 private:
  const Surroundings around_;
  std::unique_ptr<Core> core_;
  std::uint64_t config_version_ = around_.config.version();
  Alarm alarm_;
};

}  // namespace gpupool
