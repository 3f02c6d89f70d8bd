// What the shells do: messages to where they are addressed, alarms, and the ledger's group commit.
#include <algorithm>
#include <iostream>

#include "tests/sim/world.h"

namespace gpupool::sim {

void World::happened(const std::string& what) {
  ++coverage_.events[what.rfind("node-", 0) == 0 ? "a worker" + what.substr(what.find(' ')) : what];
  if (trace_) *trace_ << now() << " -- " << what << '\n';
}

template <class Variant>
void World::note(const std::string& from, const std::string& to, const Variant& message) {
  coverage_.saw(message);
  if (!trace_) return;
  *trace_ << (now() - plan_.start).ms << ' ' << from << " > " << to << ": ";
  print(*trace_, message);
  *trace_ << '\n';
}

// ---- Sending -----------------------------------------------------------------------------------

void World::perform(const std::string& from, NodeProcess* node, const Effects& effects) {
  require(effects.journal.empty(), "only the ledger journals", from);
  for (const Send& send : effects.send) route(from, node, send);
}

void World::route(const std::string& from, NodeProcess* node, const Send& send) {
  const Address& to = send.to;
  if (to.role == Role::broker) {
    const auto& message = std::get<ToBroker>(send.message);
    if (node) return worker_to_broker(*node, message);
    note(from, "broker", message);
    in_pool(pool_->to_broker, [this, message] { deliver(message); });
  } else if (to.role == Role::ledger) {
    ToLedger message = std::get<ToLedger>(send.message);
    // Of some requests, as if their durations had been learned, less is held at first.
    if (auto* reserve = std::get_if<Reserve>(&message); reserve && reserve->request.low % 3 == 0)
      reserve->learned = {reserve->declared.ms / 2};
    note(from, "ledger", message);
    if (from == "broker") checks_.broker_sent(now(), message);
    in_pool(pool_->to_ledger, [this, message] { deliver(message); });
  } else if (to.role == Role::session) {
    const auto& message = std::get<ToSession>(send.message);
    const SessionId id{to.id};
    note(from, "session", message);
    in_pool(pool_->to_sessions, [this, id, message] { deliver(id, message); });
  } else if (to.role == Role::worker) {
    const auto& message = std::get<ToWorker>(send.message);
    note(from, "worker " + std::to_string(to.id), message);
    if (from == "broker") checks_.broker_sent(now(), NodeId{to.id}, message);
    broker_to_worker(NodeId{to.id}, message);
  } else if (to.role == Role::client) {
    const auto& message = std::get<ToClient>(send.message);
    note(from, "client", message);
    SessionActor& session = pool_->sessions.at(SessionId{to.id});
    in_pool(session.to_client, [this, id = SessionId{to.id}, message] {
      const auto it = pool_->sessions.find(id);
      if (it != pool_->sessions.end() && it->second.client->session() == id)
        it->second.client->hear(message);
    });
  } else if (to.role == Role::history) {
    const auto& message = std::get<ToHistory>(send.message);
    note(from, "history", message);
    in_pool(pool_->to_history, [this, message] { deliver(message); });
  } else if (to.role == Role::console) {
    const auto& message = std::get<ToConsole>(send.message);
    note(from, "console", message);
    in_pool(pool_->to_console, [this, message] { deliver(message); });
  } else if (to.role == Role::device_api) {
    note(from, "device api", std::get<ToDeviceApi>(send.message));
  } else if (to.role == Role::gateway) {
    deliver(std::get<ToGateway>(send.message));
  } else {
    const auto& message = std::get<ToExecutors>(send.message);
    note(from, "executors", message);
    checks_.executors_told(node->id, message);
    node->executors->perform(message);
  }
}

void World::from_console(const ToBroker& message) {
  if (!pool_) return;
  note("console", "broker", message);
  in_pool(pool_->to_broker, [this, message] { deliver(message); });
}

void World::from_console(const ToLedger& message) {
  if (!pool_) return;
  note("console", "ledger", message);
  in_pool(pool_->to_ledger, [this, message] { deliver(message); });
}

// Inside the broker's process, and on a client's connection to it: in order, and gone with it.
void World::in_pool(Mailbox& mailbox, std::function<void()> what) {
  mailbox.deliver(schedule_, jitter(),
                  [this, generation = pool_->generation, what = std::move(what)] {
                    if (pool_ && pool_->generation == generation) what();
                  });
}

// What a dead broker sent may still arrive: its worker sees an older epoch.
void World::broker_to_worker(NodeId id, const ToWorker& message) {
  NodeProcess* found = node_of(id);
  if (!found || cut_off(*found)) return;
  link_.deliver(schedule_, [this, &node = *found, message] {
    if (cut_off(node)) return;
    if (const auto* wanted = std::get_if<FetchResult>(&message))
      fetch(node, *wanted);
    else if (const auto* log = std::get_if<FetchLog>(&message))
      fetch(node, *log);
    else
      deliver(node, message);
  });
}

void World::worker_to_broker(NodeProcess& node, const ToBroker& message) {
  note(node.config.worker.name, "broker", message);
  checks_.worker_sent(message);
  if (std::holds_alternative<RunEnded>(message)) quiet_since_ = now();
  if (const auto* join = std::get_if<Join>(&message); join && node.incarnation == 1)
    node.old_join = *join;
  if (cut_off(node) || !pool_) return;
  link_.deliver(schedule_, [this, &node, message, generation = pool_->generation] {
    if (!cut_off(node) && pool_ && pool_->generation == generation) deliver(message);
  });
}

// The worker's shell reads results, not its core.
void World::fetch(NodeProcess& node, const FetchResult& wanted) {
  if (!node.core || !pool_) return;
  ResultChunk chunk{
      .query = wanted.query, .session = wanted.session, .job = wanted.job, .offset = wanted.offset};
  const auto& results = node.executors->results();
  if (const auto it = results.find(wanted.hash); it != results.end()) {
    chunk.total = static_cast<std::int64_t>(it->second.size());
    chunk.bytes = it->second.substr(static_cast<std::size_t>(wanted.offset));
  } else {
    chunk.error = Errc::result_gone;
  }
  answer(node, wanted.session, chunk);
}

void World::fetch(NodeProcess& node, const FetchLog& wanted) {
  if (!node.core || !pool_) return;
  LogChunk chunk{
      .query = wanted.query, .session = wanted.session, .job = wanted.job, .offset = wanted.offset};
  const auto& results = node.executors->results();
  if (const auto it = results.find(wanted.hash); it != results.end()) {
    chunk.total = static_cast<std::int64_t>(it->second.size());
    chunk.bytes = it->second;
    chunk.finished = true;
  } else if (!node.core->carries(wanted.job, wanted.attempt)) {
    chunk.error = Errc::result_gone;
  }
  answer(node, wanted.session, chunk);
}

void World::answer(NodeProcess& node, SessionId session, const ToSession& message) {
  note(node.config.worker.name, "session", message);
  link_.deliver(schedule_, [this, message, session, generation = pool_->generation] {
    if (pool_ && pool_->generation == generation) deliver(session, message);
  });
}

World::NodeProcess* World::node_of(NodeId id) {
  const auto it = std::find_if(nodes_.begin(), nodes_.end(),
                               [&](const NodeProcess& node) { return node.id == id; });
  return it == nodes_.end() ? nullptr : &*it;
}

// ---- Receiving ---------------------------------------------------------------------------------

void World::deliver(const ToBroker& message) {
  const Effects effects = pool_->broker->step(now(), message);
  perform("broker", nullptr, effects);
  arm_broker(effects.wake_at);
}

void World::deliver(const ToHistory& message) {
  perform("history", nullptr, pool_->history->step(message));
}

void World::deliver(const ToConsole& message) {
  if (Operator::is_for_operator(message)) operator_.hear(message);
  const Effects effects = pool_->console->step(now(), message);
  perform("console", nullptr, effects);
  arm_console(effects.wake_at);
}

// The gateway tells every session what is announced anew.
void World::deliver(const ToGateway& message) {
  const auto& standing = std::get<Standing>(message);
  if (std::exchange(pool_->announcement, standing.announcement) == standing.announcement) return;
  for (auto& [id, session] : pool_->sessions)
    in_pool(session.from_client,
            [this, id = id, text = standing.announcement] { deliver(id, Announcement{text}); });
}

// As the ledger's shell does it: what comes while a commit waits to begin joins its batch.
void World::deliver(const ToLedger& message) {
  const bool first = !pool_->ledger->waiting();
  pool_->ledger->take(now(), message);
  if (!first) return;
  const Duration delay = milliseconds(slow_journal_ ? rng_.between(100, 1500) : rng_.between(0, 8));
  schedule_.after(delay, [this, generation = pool_->generation] {
    if (pool_ && pool_->generation == generation) commit();
  });
}

void World::commit() {
  const Instant boot{(now() - plan_.start).ms};
  const auto answers =
      pool_->ledger->commit(now(), {.wall = now(), .boot = boot, .boot_id = "boot 1"});
  if (!answers) {
    require(answers.error().code == Errc::outcome_unknown, "a commit that failed is in doubt");
    journal_.set_fault(JournalFault::none);
    return pool_dies(milliseconds(rng_.between(10, 5000)));
  }
  if (const auto& refusal = pool_->ledger->refusal()) ++coverage_.codes[refusal->code];
  perform("ledger", nullptr, *answers);
  checks_.compare(now(), pool_->ledger->ledger());
  if (!rng_.one_in(100)) return;
  const auto frozen = pool_->ledger->freeze();
  require(bool{frozen}, "a snapshot can be taken after a commit");
  RowWriter rows;
  frozen->ledger->write_state(rows);
  snapshot_ = Snapshot{.at = frozen->at, .state = rows.take()};
}

void World::deliver(SessionId id, const ToSession& message) {
  const auto it = pool_->sessions.find(id);
  if (it == pool_->sessions.end()) return;
  note("", "session", message);
  const Effects effects = it->second.core->step(now(), message);
  perform("session", nullptr, effects);
  if (it->second.core->finished())
    pool_->sessions.erase(it);
  else
    arm_session(id, effects.wake_at);
}

void World::deliver(NodeProcess& node, const ToWorker& message) {
  if (!node.core) return;
  note("", node.config.worker.name, message);
  const Effects effects = node.core->step(node.local(now()), message);
  perform(node.config.worker.name, &node, effects);
  arm_worker(node, effects.wake_at);
}

SessionId World::open_session(Client& client, const Caller& caller) {
  if (!pool_) return {};
  const SessionId id{++sessions_};
  SessionActor& session = pool_->sessions[id];
  session.core = std::make_unique<Session>(plan_.config, id);
  session.client = &client;
  in_pool(session.from_client, [this, id, caller] { deliver(id, SessionOpened{id, caller}); });
  return id;
}

// ---- Alarms ------------------------------------------------------------------------------------

// Is there a new event to schedule?
bool World::rearm(Alarm& alarm, Instant at) {
  if (at == alarm.at) return false;
  alarm = {.number = ++alarms_, .at = at};
  return at != Instant::never();
}

void World::arm_broker(Instant at) {
  if (!rearm(pool_->alarm, at)) return;
  schedule_.at(at, [this, number = pool_->alarm.number] {
    if (!pool_ || pool_->alarm.number != number) return;
    pool_->alarm = {};
    deliver(ToBroker{Tick{}});
  });
}

void World::arm_console(Instant at) {
  if (!rearm(pool_->console_alarm, at)) return;
  schedule_.at(at, [this, number = pool_->console_alarm.number] {
    if (!pool_ || pool_->console_alarm.number != number) return;
    pool_->console_alarm = {};
    deliver(ToConsole{Tick{}});
  });
}

void World::arm_worker(NodeProcess& node, Instant at) {
  if (!rearm(node.alarm, at)) return;
  schedule_.at(node.boot + Duration{at.ms}, [this, &node, number = node.alarm.number] {
    if (!node.core || node.alarm.number != number) return;
    node.alarm = {};
    deliver(node, ToWorker{Tick{}});
  });
}

void World::arm_session(SessionId id, Instant at) {
  if (!rearm(pool_->sessions.at(id).alarm, at)) return;
  schedule_.at(at, [this, id, number = pool_->sessions.at(id).alarm.number] {
    if (!pool_) return;
    const auto it = pool_->sessions.find(id);
    if (it == pool_->sessions.end() || it->second.alarm.number != number) return;
    it->second.alarm = {};
    deliver(id, ToSession{Tick{}});
  });
}

}  // namespace gpupool::sim
