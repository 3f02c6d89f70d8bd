#include "cli/top_view.h"

#include <algorithm>
#include <tuple>

#include "actors/describe.h"

namespace gpupool {
namespace {

constexpr std::size_t bar_cells = 10;

// One slot, queue entry or node, as a row of text.
struct Row {
  std::string text;
  Colour colour = Colour::plain;
  TopRow what;
};

// One column: its name, its width, and whether it is a number.
struct Field {
  std::string_view name;
  std::size_t width;
  bool is_number = false;
};

std::string in_columns(const Style& style, const std::vector<Field>& fields,
                       const std::vector<std::string>& cells) {
  std::string line;
  for (std::size_t i = 0; i < fields.size(); ++i) {
    const std::string cell = shortened(style, printable(cells[i]), fields[i].width);
    if (i > 0) line += ' ';
    line += fields[i].is_number ? padded_left(cell, fields[i].width)
                                : padded_right(cell, fields[i].width);
  }
  return line;
}

std::string header_of(const Style& style, const std::vector<Field>& fields) {
  std::vector<std::string> names;
  for (const Field& field : fields) names.emplace_back(field.name);
  return in_columns(style, fields, names);
}

// "4 s", "12:03", "3:12:11": short enough for a column.
std::string short_time(Duration time) {
  const std::int64_t s = std::max<std::int64_t>(time.ms, 0) / 1000;
  const auto two = [](std::int64_t n) { return (n < 10 ? "0" : "") + std::to_string(n); };
  if (s < 60) return std::to_string(s) + " s";
  if (s < 3600) return std::to_string(s / 60) + ":" + two(s % 60);
  return std::to_string(s / 3600) + ":" + two(s / 60 % 60) + ":" + two(s % 60);
}

std::string until(Instant moment, Instant now) {
  if (!moment || moment == Instant::never()) return "-";
  return moment <= now ? "now" : short_time(moment - now);
}

bool fits_filter(const std::string& filter, std::initializer_list<std::string_view> words) {
  return filter.empty() || std::any_of(words.begin(), words.end(), [&](std::string_view word) {
           return word.find(filter) != std::string_view::npos;
         });
}

// ---- Slots -------------------------------------------------------------------------------------

struct SlotOf {
  const NodeView* node;
  const SlotView* slot;
};

std::vector<SlotOf> slots_of(const Overview& overview, const TopState& state) {
  std::vector<SlotOf> all;
  for (const NodeView& node : overview.nodes)
    for (const SlotView& slot : node.slots)
      if (fits_filter(state.filter, {node.name, slot.account.text, slot.app, slot.partition,
                                     std::to_string(slot.job.value)}))
        all.push_back({&node, &slot});
  const auto busy_first = [](const SlotOf& one) { return one.slot->job ? 0 : 1; };
  if (state.order == TopOrder::time)
    std::stable_sort(all.begin(), all.end(), [&](const SlotOf& a, const SlotOf& b) {
      return std::tuple(busy_first(a), a.slot->ends_by) <
             std::tuple(busy_first(b), b.slot->ends_by);
    });
  if (state.order == TopOrder::account)
    std::stable_sort(all.begin(), all.end(), [&](const SlotOf& a, const SlotOf& b) {
      return std::tuple(busy_first(a), a.slot->account.text) <
             std::tuple(busy_first(b), b.slot->account.text);
    });
  return all;
}

std::vector<Field> slot_fields(const Style& style) {
  const std::size_t more = style.columns > 80 ? static_cast<std::size_t>(style.columns) - 80 : 0;
  return {{"NODE", 10 + more / 4}, {"SLOT", 4, true},          {"STATE", 8},
          {"JOB", 6, true},        {"ACCOUNT", 14 + more / 2}, {"APP", 9 + more / 4},
          {"FOR", 7, true},        {"ENDS IN", 7, true},       {"", 3}};
}

std::string deadline_bar(const Style& style, const SlotView& slot, Instant now, std::size_t cells) {
  if (!slot.job || slot.ends_by <= slot.since) return {};
  const std::int64_t gone =
      std::clamp<std::int64_t>((now - slot.since).ms, 0, (slot.ends_by - slot.since).ms);
  const std::int64_t left = (slot.ends_by - slot.since).ms - gone;
  const Style plain{.columns = style.columns, .unicode = style.unicode};
  return bar(
      plain,
      {{.amount = gone, .glyph = "█", .ascii = '#'}, {.amount = left, .glyph = "░", .ascii = '-'}},
      cells);
}

std::string_view state_word(const NodeView& node, const SlotView& slot) {
  if (node.state == NodeState::lost) return "lost";
  // Its node has not said yet that it took the lease.
  return slot.job && slot.state == SlotState::free ? "starting" : word_of(slot.state);
}

std::vector<Row> slot_rows(const Style& style, const Overview& overview, Instant now,
                           const TopState& state) {
  auto fields = slot_fields(style);
  std::size_t used = fields.size() - 1;
  for (std::size_t i = 0; i + 1 < fields.size(); ++i) used += fields[i].width;
  const std::size_t cells =
      static_cast<std::size_t>(style.columns) > used + 2
          ? std::min(bar_cells * 3, static_cast<std::size_t>(style.columns) - used)
          : 0;
  fields.pop_back();
  std::vector<Row> rows;
  for (const SlotOf& one : slots_of(overview, state)) {
    const SlotView& slot = *one.slot;
    const bool has_job = bool{slot.job};
    std::string line = in_columns(
        style, fields,
        {one.node->name, std::to_string(slot.slot.value), std::string(state_word(*one.node, slot)),
         has_job ? std::to_string(slot.job.value) : "-",
         has_job ? slot.account.text : (slot.why.empty() ? "-" : slot.why),
         has_job ? slot.app : (slot.warm_app.empty() ? "-" : slot.warm_app),
         has_job ? short_time(now - slot.since) : "-", has_job ? until(slot.ends_by, now) : "-"});
    if (const std::string left = deadline_bar(style, slot, now, cells); !left.empty())
      line += " " + left;
    const bool is_down = slot.state == SlotState::down || one.node->state == NodeState::lost;
    rows.push_back({.text = line,
                    .colour = is_down   ? Colour::red
                              : has_job ? Colour::green
                                        : Colour::dim,
                    .what = {one.node->name, slot.job}});
  }
  return rows;
}

// ---- Queue -------------------------------------------------------------------------------------

std::vector<const QueueEntry*> queue_of(const Overview& overview, const TopState& state) {
  std::vector<const QueueEntry*> all;
  for (const QueueEntry& entry : overview.queue)
    if (fits_filter(state.filter, {entry.account.text, entry.app, entry.tier, entry.partition,
                                   entry.node, std::to_string(entry.job.value)}))
      all.push_back(&entry);
  if (state.order == TopOrder::time)
    std::stable_sort(all.begin(), all.end(), [](const QueueEntry* a, const QueueEntry* b) {
      return a->promise < b->promise;
    });
  if (state.order == TopOrder::account)
    std::stable_sort(all.begin(), all.end(), [](const QueueEntry* a, const QueueEntry* b) {
      return a->account.text < b->account.text;
    });
  return all;
}

std::vector<Field> queue_fields(const Style& style) {
  const std::size_t more = style.columns > 80 ? static_cast<std::size_t>(style.columns) - 80 : 0;
  return {
      {"JOB", 6, true},     {"ACCOUNT", 14 + more / 2}, {"APP", 9 + more / 2}, {"SIZE", 6},
      {"STATE", 8},         {"POS", 4, true},           {"WAITED", 7, true},   {"LIKELY", 7, true},
      {"PROMISED", 8, true}};
}

std::vector<Row> queue_rows(const Style& style, const Overview& overview, Instant now,
                            const TopState& state) {
  std::vector<Row> rows;
  for (const QueueEntry* entry : queue_of(overview, state)) {
    const bool queued = entry->state == JobState::queued;
    rows.push_back(
        {.text = in_columns(style, queue_fields(style),
                            {std::to_string(entry->job.value), entry->account.text, entry->app,
                             entry->size, std::string(word_of(entry->state)),
                             queued && entry->position > 0 ? std::to_string(entry->position) : "-",
                             queued ? short_time(now - entry->admitted_at) : "-",
                             queued ? until(entry->likely_start, now) : "-",
                             queued ? until(entry->promise, now) : "-"}),
         .colour = queued && entry->promise < now ? Colour::red : Colour::plain,
         .what = {entry->node, entry->job}});
  }
  return rows;
}

// ---- Nodes -------------------------------------------------------------------------------------

std::vector<Field> node_fields(const Style& style) {
  const std::size_t more = style.columns > 80 ? static_cast<std::size_t>(style.columns) - 80 : 0;
  return {{"NODE", 14 + more / 3},
          {"STATE", 9},
          {"SLOTS", 5, true},
          {"BUSY", 4, true},
          {"DOWN", 4, true},
          {"SEEN", 7, true},
          {"DEVICES", 30 + more * 2 / 3}};
}

std::vector<Row> node_rows(const Style& style, const Overview& overview, Instant now,
                           const TopState& state) {
  std::vector<Row> rows;
  for (const NodeView& node : overview.nodes) {
    if (!fits_filter(state.filter, {node.name, word_of(node.state)})) continue;
    std::size_t busy = 0;
    std::size_t down = 0;
    for (const SlotView& slot : node.slots) {
      busy += slot.job ? 1U : 0U;
      down += slot.state == SlotState::down ? 1U : 0U;
    }
    std::string devices;
    for (const std::string& device : node.devices)
      devices += (devices.empty() ? "" : ", ") + device;
    rows.push_back(
        {.text = in_columns(
             style, node_fields(style),
             {node.name, std::string(word_of(node.state)), std::to_string(node.slots.size()),
              std::to_string(busy), std::to_string(down), short_time(now - node.seen), devices}),
         .colour = node.state == NodeState::healthy ? Colour::plain
                   : node.state == NodeState::lost  ? Colour::red
                                                    : Colour::yellow,
         .what = {node.name, {}}});
  }
  return rows;
}

std::vector<Row> rows_of(const Style& style, const Overview& overview, Instant now,
                         const TopState& state, TopList list) {
  switch (list) {
    case TopList::slots:
      return slot_rows(style, overview, now, state);
    case TopList::queue:
      return queue_rows(style, overview, now, state);
    case TopList::nodes:
      return node_rows(style, overview, now, state);
  }
  return {};
}

// ---- The screen --------------------------------------------------------------------------------

std::string refusals_of(const Overview& overview) {
  std::string text;
  for (const CodeCount& one : overview.refused_minute)
    text += (text.empty() ? "" : ", ") + std::string(name_of(one.code)) + " " +
            std::to_string(one.count);
  return text.empty() ? "none" : text;
}

std::string tenths(std::uint32_t per_minute) {
  const std::uint32_t tenth = per_minute / 6;
  return std::to_string(tenth / 10) + "." + std::to_string(tenth % 10);
}

std::vector<TopLine> head(const std::string& pool, const Overview& overview, Instant now,
                          const TopState& state) {
  const PoolPulse& pulse = overview.pulse;
  const auto named = [](std::uint64_t count, const char* word) {
    return count == 0 ? std::string{} : ", " + std::to_string(count) + " " + word;
  };
  std::vector<TopLine> lines;
  lines.push_back({"pool " + printable(pool) + "   " + utc_text(now) + "   up " +
                       short_time(now - overview.started_at) + "   commits " +
                       tenths(overview.commits_per_minute) + "/s   " +
                       (state.link.empty() ? "live" : printable(state.link)),
                   state.link.empty() ? Colour::bold : Colour::yellow});
  lines.push_back({"slots " + std::to_string(pulse.slots_busy) + " busy of " +
                   std::to_string(pulse.slots_busy + pulse.slots_free + pulse.slots_down) +
                   named(pulse.slots_down, "down") + "   nodes " + std::to_string(pulse.healthy) +
                   " healthy" + named(pulse.draining, "draining") +
                   named(pulse.suspected, "suspected") + named(pulse.lost, "lost") + "   queue " +
                   std::to_string(overview.waiting) + " waiting"});
  lines.push_back({"refused in the last minute: " + refusals_of(overview),
                   overview.refused_minute.empty() ? Colour::plain : Colour::yellow});
  if (!overview.announcement.empty())
    lines.push_back({"announced: " + printable(overview.announcement), Colour::cyan});
  return lines;
}

std::string title_of(const Style& style, TopList list) {
  switch (list) {
    case TopList::slots:
      return header_of(style, slot_fields(style));
    case TopList::queue:
      return header_of(style, queue_fields(style));
    case TopList::nodes:
      return header_of(style, node_fields(style));
  }
  return {};
}

// The part of a list around the cursor that fits.
void append_list(std::vector<TopLine>& lines, const Style& style, const std::vector<Row>& rows,
                 TopList list, const TopState& state, std::size_t height) {
  if (height == 0) return;
  const bool has_cursor = state.list == list;
  lines.push_back({title_of(style, list), has_cursor ? Colour::cyan : Colour::dim});
  const std::size_t room = height - 1;
  const std::size_t cursor =
      has_cursor && !rows.empty() ? std::min(state.cursor, rows.size() - 1) : 0;
  const std::size_t first = cursor >= room && room > 0 ? cursor - room + 1 : 0;
  for (std::size_t i = 0; i < room; ++i) {
    const std::size_t row = first + i;
    if (row >= rows.size())
      lines.push_back({i == 0 && rows.empty() ? "  (none)" : "", Colour::dim});
    else
      lines.push_back({rows[row].text, rows[row].colour, has_cursor && row == cursor});
  }
}

}  // namespace

std::vector<std::string> top_help() {
  return {
      "up, down, j, k, page up, page down   the row",
      "tab                                  slots, queue, nodes",
      "s                                    sort: by place, by time left or promise, by account",
      "/                                    filter by a part of a name; enter ends, empty: all",
      "d                                    drain the row's node: no new leases; again: resume",
      "c                                    cancel the row's job (asks first)",
      "e                                    explain the row's job: its story, with the numbers",
      "h, ?                                 this page",
      "q                                    end",
      "",
      "FOR: since its run began. ENDS IN: until its end is enforced. PROMISED: its latest start."};
}

TopLink top_link(const TopAge& age, const std::string& link) {
  // An answer may just be missed by one interval; the second is for its way.
  const Duration most = age.interval + age.interval + seconds(1);
  if (age.age <= most) return {.ran_on = age.age, .link = link};
  if (!link.empty()) return {.ran_on = most, .link = link};
  return {.ran_on = most, .link = "no answer for " + std::to_string(age.age.ms / 1000) + " s"};
}

std::size_t top_height(const Overview& overview) {
  std::size_t slots = 0;
  for (const NodeView& node : overview.nodes) slots += node.slots.size();
  const auto height = [](std::size_t rows) { return std::max<std::size_t>(rows, 1) + 1; };
  return head({}, overview, overview.at, {}).size() + height(slots) +
         height(overview.queue.size()) + 1;
}

std::vector<TopLine> top_lines(const Style& style, std::size_t rows, const std::string& pool,
                               const Overview& overview, Instant now, const TopState& state) {
  std::vector<TopLine> lines = head(pool, overview, now, state);
  const std::size_t foot = 1;
  const std::size_t left = rows > lines.size() + foot ? rows - lines.size() - foot : 0;
  if (!state.page.empty()) {
    for (std::size_t i = 0; i < left; ++i) {
      const std::size_t line = state.cursor + i;
      lines.push_back({line < state.page.size() ? printable(state.page[line]) : ""});
    }
  } else if (state.list == TopList::nodes) {
    append_list(lines, style, rows_of(style, overview, now, state, TopList::nodes), TopList::nodes,
                state, left);
  } else {
    // Each list gets what it needs, and half of the room where both need more.
    const auto slots = rows_of(style, overview, now, state, TopList::slots);
    const auto queue = rows_of(style, overview, now, state, TopList::queue);
    const std::size_t half = left / 2;
    std::size_t upper = std::min(std::max<std::size_t>(slots.size(), 1) + 1, left);
    const std::size_t lower = std::max<std::size_t>(queue.size(), 1) + 1;
    if (upper > half && lower > left - upper) upper = std::max(half, left - std::min(lower, left));
    append_list(lines, style, slots, TopList::slots, state, upper);
    append_list(lines, style, queue, TopList::queue, state, left - upper);
  }
  std::string keys = "q end  tab lists  s sort  / filter  d drain  c cancel  e explain  h help";
  if (!state.filter.empty()) keys = "filter: " + printable(state.filter) + "   " + keys;
  lines.push_back({state.notice.empty() ? keys : printable(state.notice),
                   state.notice.empty() ? Colour::dim : Colour::bold});
  lines.resize(rows);
  for (TopLine& line : lines)
    line.text = shortened(style, line.text, static_cast<std::size_t>(style.columns));
  return lines;
}

TopRow top_row(const Overview& overview, const TopState& state) {
  const auto rows = rows_of({}, overview, overview.at, state, state.list);
  return rows.empty() ? TopRow{} : rows[std::min(state.cursor, rows.size() - 1)].what;
}

std::size_t top_size(const Overview& overview, const TopState& state) {
  if (!state.page.empty()) return state.page.size();
  return rows_of({}, overview, overview.at, state, state.list).size();
}

}  // namespace gpupool
