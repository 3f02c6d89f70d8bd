#include "harness.h"

namespace gpupool {

Harness::Harness(Config config) : config_(std::move(config)), ledger(config_) {}

void Harness::start() {
  unanswered.clear();
  core = std::make_unique<Broker>(config_, test_build);
  carry_out(core->start(now));
}

void Harness::tell(const ToBroker& message) { carry_out(core->step(now, message)); }

void Harness::pass(Duration time) {
  for (const Instant end = now + time; now < end;) {
    now = std::min(end, now + milliseconds(250));
    for (auto& [id, node] : nodes)
      if (beating.contains(id)) beat(node);
    tell(Tick{});
  }
}

TestNode& Harness::add_node(std::uint64_t id, const std::vector<std::uint32_t>& devices) {
  TestNode& node = nodes[NodeId{id}];
  node.id = NodeId{id};
  for (std::uint32_t i = 0; i < devices.size(); ++i)
    node.slots.push_back({.slot = {i}, .device = devices[i], .state = SlotState::free});
  beating.insert(node.id);
  join(node);
  return node;
}

void Harness::join(TestNode& node) {
  tell(Join{.node = node.id,
            .name = "node-" + std::to_string(node.id.value),
            .incarnation = node.incarnation,
            .build = test_build,
            .heartbeat = ++node.heartbeat,
            .slots = node.slots,
            .draining = node.draining});
}

void Harness::beat(TestNode& node) {
  tell(Heartbeat{.node = node.id,
                 .incarnation = node.incarnation,
                 .number = ++node.heartbeat,
                 .slots = node.slots,
                 .draining = node.draining});
}

void Harness::begin(const Lease& lease) {
  occupy(lease, SlotState::running);
  tell(RunBegan{lease.node, lease.job, lease.attempt});
}

void Harness::end(const RunEnded& ended) {
  for (SlotReport& slot : nodes.at(ended.node).slots)
    if (slot.job == ended.job)
      slot = {.slot = slot.slot,
              .device = slot.device,
              .state = SlotState::free,
              .warm_app = slot.warm_app};
  tell(ended);
}

JobId Harness::admit(const Submit& submit) {
  tell(submit);
  for (const auto& moved : sessions_got<JobMoved>())
    if (moved.query == submit.query) return moved.event.job;
  return {};
}

Refusal Harness::refuse(const Submit& submit) {
  tell(submit);
  for (const auto& refused : sessions_got<SubmitRefused>())
    if (refused.query == submit.query) return refused.refusal;
  return {};
}

void Harness::answer_ledger() {
  ledger_answers = true;
  while (!unanswered.empty()) {
    const ToLedger message = unanswered.front();
    unanswered.pop_front();
    ask(message);
  }
}

void Harness::ask(const ToLedger& message) {
  Effects effects = ledger.step(now, message);
  for (const Record& record : effects.journal) {
    records_.push_back(record);
    if (const auto* opened = std::get_if<HoldOpened>(&record.body))
      add_to(jobs_[opened->hold->job], record);
    if (const auto* settled = std::get_if<HoldSettled>(&record.body))
      add_to(jobs_[settled->job], record);
  }
  bench::ask_history(ledger, now, records_, effects);
  for (const Send& answer : effects.send) {
    if (const auto* told = std::get_if<ToSession>(&answer.message))
      to_sessions.push_back(*told);
    else
      tell(std::get<ToBroker>(answer.message));
  }
}

void Harness::carry_out(const Effects& effects) {
  core->check_invariants();
  for (const Send& send : effects.send) {
    if (const auto* asked = std::get_if<ToLedger>(&send.message)) {
      to_the_ledger.push_back(*asked);
      if (ledger_answers)
        ask(*asked);
      else
        unanswered.push_back(*asked);
    }
    if (const auto* told = std::get_if<ToWorker>(&send.message)) {
      to_workers.push_back(*told);
      if (std::holds_alternative<CancelRun>(*told)) called_off_.insert(NodeId{send.to.id});
      if (std::holds_alternative<RankShared>(*told)) shared_with_.insert(NodeId{send.to.id});
    }
    if (const auto* told = std::get_if<ToSession>(&send.message)) to_sessions.push_back(*told);
    if (const auto* told = std::get_if<ToConsole>(&send.message)) to_the_console.push_back(*told);
  }
}

}  // namespace gpupool
