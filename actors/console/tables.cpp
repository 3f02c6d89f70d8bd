#include "actors/console/tables.h"

#include <algorithm>
#include <charconv>
#include <cstdio>

#include "actors/console/command_line.h"
#include "actors/describe.h"
#include "actors/worker/command_arguments.h"
#include "config/limits.h"
#include "config/parameter.h"

namespace gpupool {
namespace {

constexpr auto rows_max = static_cast<std::size_t>(limits::table_rows_max);
static_assert(limits::table_rows_max * 1024 < limits::frame_bytes_max, "a row has below 1 KiB");

using Row = std::vector<std::string>;

std::string cell(std::uint64_t count) { return std::to_string(count); }
std::string cell(GpuTime amount) { return std::to_string(amount.ms); }
std::string cell(Duration duration) { return std::to_string(duration.ms); }
std::string cell(Instant moment) { return std::to_string(moment.ms); }
std::string cell_or_empty(std::uint64_t count) { return count == 0 ? "" : std::to_string(count); }

// "1 job", "4 jobs".
std::string counted(std::size_t count, const std::string& noun) {
  return std::to_string(count) + " " + noun + (count == 1 ? "" : "s");
}

// A text that is too long for a cell, cut between characters.
std::string bounded(const std::string& text) {
  auto end = static_cast<std::size_t>(limits::detail_bytes_max);
  if (text.size() <= end) return text;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0U) == 0x80U) --end;
  return text.substr(0, end) + "...";
}

std::string hexadecimal(std::uint64_t number) {
  char text[17];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(number));
  return text;
}

std::string hardware_of(const NodeView& node, const SlotView& slot) {
  return slot.device < node.devices.size() ? node.devices[slot.device] : "";
}

Row row_of(const NodeView& node, const SlotView* slot) {
  Row row{node.name, std::string(word_of(node.state))};
  if (slot != nullptr) {
    row.insert(row.end(), {cell(slot->slot.value), std::string(word_of(slot->state)),
                           cell_or_empty(slot->job.value), slot->account.text, slot->app,
                           cell(slot->ends_by), cell(slot->device), slot->warm_app});
  } else {
    row.insert(row.end(), {"", "", "", "", "", cell(Instant{}), "", ""});
  }
  row.insert(row.end(), {cell(node.seen), node.build});
  row.push_back(slot == nullptr ? "" : slot->partition);
  row.push_back(slot == nullptr ? "" : slot->reservation);
  row.push_back(slot == nullptr ? "" : hardware_of(node, *slot));
  row.push_back(slot == nullptr ? "" : slot->why);
  return row;
}

std::string place_of(const NodeView& node, const SlotView& slot) {
  return node.name + "/" + std::to_string(slot.slot.value);
}

// A cursor is a node's name, which skips all of its slots, or a name and a slot.
bool comes_after(const NodeView& node, SlotIndex slot, const std::string& after) {
  const std::size_t dash = after.rfind('/');
  const std::string name = after.substr(0, dash);
  if (dash == std::string::npos || node.name != name) return node.name > name;
  std::uint32_t last = 0;
  std::from_chars(after.data() + dash + 1, after.data() + after.size(), last);
  return slot.value > last;
}

std::string note_of(const NodesFound& found) {
  std::size_t slots = 0;
  std::size_t busy = 0;
  std::size_t free = 0;
  std::size_t down = 0;
  std::vector<std::string> draining;
  std::vector<std::string> lost;
  for (const NodeView& node : found.nodes) {
    if (node.state == NodeState::draining) draining.push_back(node.name);
    if (node.state == NodeState::lost) lost.push_back(node.name);
    slots += node.slots.size();
    for (const SlotView& slot : node.slots) {
      busy += slot.job ? 1U : 0U;
      down += slot.state == SlotState::down ? 1U : 0U;
      free += node.state == NodeState::healthy && !slot.job && slot.state == SlotState::free;
    }
  }
  std::string note = counted(found.nodes.size(), "node") + ", " + counted(slots, "slot") + ": " +
                     std::to_string(busy) + " with a job, " + std::to_string(free) + " free";
  if (down > 0) note += ", " + std::to_string(down) + " down";
  if (!draining.empty()) note += "; draining: " + list_of(draining);
  if (!lost.empty()) note += "; lost: " + list_of(lost);
  return bounded(note);
}

}  // namespace

Table table_of_tiers(const Config& config, const Standing& standing) {
  Table table{.title = "tiers",
              .columns = {{"tier"},
                          {"allowance", CellKind::amount},
                          {"longest", CellKind::amount},
                          {"rank", CellKind::count},
                          {"jobs_max", CellKind::count},
                          {"accounts_set", CellKind::count}}};
  for (const TierConfig& tier : config.tiers) {
    const auto set = std::count_if(standing.tiers.begin(), standing.tiers.end(),
                                   [&](const AccountTier& one) { return one.tier == tier.name; });
    table.rows.push_back({tier.name, cell(tier.allowance), cell(tier.longest), cell(tier.rank),
                          cell(tier.jobs_max), cell(static_cast<std::uint64_t>(set))});
  }
  table.rows.resize(std::min(table.rows.size(), rows_max));
  table.note = counted(standing.tiers.size(), "account") +
               " got a tier from an operator; the others have the one of their token";
  return table;
}

// "steps: a whole number from 1 to 100 [30]; prompt: text of at most 200 bytes".
std::string parameters_of(const AppConfig& app) {
  if (app.executor == ExecutorKind::diffusion) return "prompt, steps, seed, guidance, pixels";
  if (app.executor != ExecutorKind::command) return {};
  std::string text = app.command.is_any() ? "a command of the caller's own: gpupool run" : "";
  for (const ParameterConfig& one : app.command.parameters)
    text += (text.empty() ? "" : "; ") + one.name + ": " + expected_of(one) +
            (one.has_default ? " [" + one.default_value + "]" : "");
  if (const std::string unset = unset_secrets(app.command); !unset.empty())
    text += (text.empty() ? "" : "; ") + ("runs nothing until its secrets are set: " + unset);
  return text;
}

Table table_of_apps(const Config& config) {
  Table table{.title = "apps",
              .columns = {{"app"},
                          {"size"},
                          {"default_duration", CellKind::duration},
                          {"longest", CellKind::duration},
                          {"executor"},
                          {"partition"},
                          {"tiers"},
                          {"start_limit", CellKind::duration},
                          {"stall", CellKind::duration},
                          {"duration"},
                          {"parameters"}}};
  for (const AppConfig& app : config.apps)
    table.rows.push_back({app.name, app.size, cell(app.default_duration), cell(app.longest),
                          std::string(word_of(app.executor)), app.partition,
                          app.tiers.empty() ? "all" : bounded(list_of(app.tiers)),
                          cell(app.start_limit), cell(app.stall),
                          app.automatic ? "auto" : "declared", bounded(parameters_of(app))});
  if (table.rows.size() > rows_max) {
    table.note =
        "the first " + std::to_string(rows_max) + " of " + counted(config.apps.size(), "app");
    table.rows.resize(rows_max);
  }
  return table;
}

Table table_of(const AccountsFound& found) {
  Table table{.title = "accounts",
              .columns = {{"account"},
                          {"tier"},
                          {"left", CellKind::amount},
                          {"held", CellKind::amount},
                          {"used", CellKind::amount},
                          {"allowance", CellKind::amount},
                          {"open_jobs", CellKind::count},
                          {"jobs_max", CellKind::count},
                          {"window_opened", CellKind::instant},
                          {"resets_at", CellKind::instant},
                          {"held_until", CellKind::instant},
                          {"credits", CellKind::amount},
                          {"credits_held", CellKind::amount}}};
  for (const Balance& balance : found.accounts) {
    if (table.rows.size() == rows_max) break;
    table.rows.push_back(
        {balance.account.text, balance.tier, cell(balance.left), cell(balance.held),
         cell(balance.used), cell(balance.allowance), cell(balance.open_jobs),
         cell(balance.jobs_max), cell(balance.window_opened), cell(balance.resets_at),
         cell(balance.held_until), cell(balance.credits), cell(balance.credits_held)});
  }
  if (!table.rows.empty() && (found.more || found.accounts.size() > rows_max))
    table.more = table.rows.back().front();
  if (table.rows.empty())
    table.note =
        "no such account; one appears with its first job and goes when nothing of it is "
        "left to remember";
  return table;
}

Table table_of(const QueueFound& found) {
  Table table{.title = "queue",
              .columns = {{"job", CellKind::count},
                          {"state"},
                          {"position", CellKind::count},
                          {"account"},
                          {"app"},
                          {"declared", CellKind::duration},
                          {"likely_start", CellKind::instant},
                          {"promise", CellKind::instant},
                          {"size"},
                          {"tier"},
                          {"node"},
                          {"admitted_at", CellKind::instant},
                          {"partition"}}};
  for (const QueueEntry& job : found.jobs) {
    if (table.rows.size() == rows_max) break;
    table.rows.push_back({cell(job.job.value), std::string(word_of(job.state)),
                          cell_or_empty(job.position), job.account.text, job.app,
                          cell(job.declared), cell(job.likely_start), cell(job.promise), job.size,
                          job.tier, job.node, cell(job.admitted_at), job.partition});
  }
  if (!table.rows.empty() && (found.more || found.jobs.size() > rows_max))
    table.more = table.rows.back().front();
  table.note = counted(static_cast<std::size_t>(found.waiting), "job") +
               (found.waiting == 1 ? " waits" : " wait") + " for a slot";
  return table;
}

Table table_of(const NodesFound& found, const std::string& after) {
  Table table{.title = "nodes",
              .columns = {{"node"},
                          {"state"},
                          {"slot", CellKind::count},
                          {"slot_state"},
                          {"job", CellKind::count},
                          {"account"},
                          {"app"},
                          {"ends_by", CellKind::instant},
                          {"device", CellKind::count},
                          {"warm_app"},
                          {"seen", CellKind::instant},
                          {"build"},
                          {"partition"},
                          {"reservation"},
                          {"hardware"},
                          {"why"}}};
  table.note = note_of(found);
  std::string last;
  for (const NodeView& node : found.nodes) {
    if (node.slots.empty() && node.name > after) table.rows.push_back(row_of(node, nullptr));
    for (const SlotView& slot : node.slots) {
      if (!after.empty() && !comes_after(node, slot.slot, after)) continue;
      if (table.rows.size() >= rows_max) {
        table.more = last;
        return table;
      }
      table.rows.push_back(row_of(node, &slot));
      last = place_of(node, slot);
    }
  }
  return table;
}

Table table_of(const Audited& audited) {
  Table table{.title = "audit", .columns = {{"finding"}}};
  for (const std::string& finding : audited.findings) {
    if (table.rows.size() == rows_max) break;
    table.rows.push_back({bounded(finding)});
  }
  // Of too many findings the ledger lists some, and the last one says how many more there are.
  const bool cut = audited.findings.size() > rows_max;
  if (cut) table.rows.back() = {bounded(audited.findings.back())};
  const std::string checked = counted(audited.accounts, "account") + " and " +
                              counted(audited.open_holds, "open hold") + " after record " +
                              std::to_string(audited.sequence) + " (state " +
                              hexadecimal(audited.digest) + ")";
  table.note = audited.findings.empty()
                   ? "every invariant holds for " + checked
                   : (cut ? "more than " + std::to_string(rows_max) + " differences"
                          : counted(audited.findings.size(), "difference")) +
                         " in " + checked +
                         "; keep a copy of the ledger's file before anything else";
  return table;
}

Table table_of(const CancelTaken& taken, JobId job) {
  Table table{.title = "cancel", .columns = {{"job", CellKind::count}, {"account"}, {"state"}}};
  table.rows.push_back({cell(job.value), taken.account.text, std::string(word_of(taken.state))});
  table.note = taken.state == JobState::ended
                   ? "the job is over already; its receipt is being written"
                   : "the job ends now; its receipt says who cancelled it and what was charged";
  return table;
}

Table table_of(const Changed& changed, std::string title, std::string note) {
  Table table{.title = std::move(title),
              .columns = {{"kind"},
                          {"subject"},
                          {"field"},
                          {"before"},
                          {"after"},
                          {"who"},
                          {"at", CellKind::instant},
                          {"why"}},
              .note = std::move(note)};
  for (const Change& change : changed.changes) {
    if (table.rows.size() == rows_max) break;
    table.rows.push_back({std::string(word_of(change.kind)), change.subject, change.field,
                          bounded(change.before), bounded(change.after), change.who,
                          cell(change.at), change.why});
  }
  return table;
}

}  // namespace gpupool
