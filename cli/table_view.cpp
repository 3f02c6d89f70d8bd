// Tables of the console and lists of changes, as people read them.
#include <algorithm>
#include <charconv>
#include <utility>

#include "actors/describe.h"
#include "cli/views.h"
#include "config/limits.h"

namespace gpupool {
namespace {

constexpr std::size_t between_columns = 2;
constexpr std::size_t margin = 2;

bool is_number(CellKind kind) {
  return kind == CellKind::count || kind == CellKind::duration || kind == CellKind::amount;
}

// What is sure to have come by then is rounded up, as everywhere.
Rounding rounding_of(const Column& column) {
  const bool is_latest = column.name == "promise" || column.name == "ends_by" ||
                         column.name == "held_until" || column.name == "resets_at";
  return is_latest ? Rounding::up : Rounding::down;
}

// "23.4 s", "2026-11-23T18:02:10Z", "yes"; "-" for what is not there.
std::string readable(const Column& column, const std::string& cell) {
  const CellKind kind = column.kind;
  if (cell.empty()) return "-";
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(cell.data(), cell.data() + cell.size(), number);
  const bool whole = error == std::errc{} && end == cell.data() + cell.size();
  if (kind == CellKind::flag) return cell == "1" ? "yes" : "no";
  if (!whole || kind == CellKind::text || kind == CellKind::count) return printable(cell);
  if (kind != CellKind::instant) return seconds_text(Duration{number});
  return number == 0 ? "-" : utc_text(Instant{number}, rounding_of(column));
}

// "open_jobs" is headed "OPEN JOBS".
std::string heading(const Column& column) {
  std::string text = printable(column.name);
  for (char& c : text) {
    if (c == '_') c = ' ';
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
  }
  return text;
}

struct Grid {
  std::vector<std::vector<std::string>> lines;  // the headings first
  std::vector<std::size_t> widths;
};

// Every line has as many cells as there are columns, whatever the pool sent.
Grid grid_of(const Table& table) {
  Grid grid;
  auto& heads = grid.lines.emplace_back();
  for (const Column& column : table.columns) heads.push_back(heading(column));
  for (const auto& row : table.rows) {
    auto& line = grid.lines.emplace_back();
    for (std::size_t i = 0; i < table.columns.size(); ++i)
      line.push_back(i < row.size() ? readable(table.columns[i], row[i]) : "-");
  }
  grid.widths.assign(table.columns.size(), 0);
  for (const auto& line : grid.lines)
    for (std::size_t i = 0; i < line.size(); ++i)
      grid.widths[i] = std::max(grid.widths[i], width_of(line[i]));
  return grid;
}

// How many of the first columns fit: at least one, and all where nobody looks at a screen.
std::size_t columns_shown(const Style& style, const Grid& grid) {
  if (!style.is_terminal) return grid.widths.size();
  std::size_t shown = 0;
  std::size_t used = 0;
  for (const std::size_t width : grid.widths) {
    used += width + (shown > 0 ? between_columns : 0);
    if (shown > 0 && std::cmp_greater(used, style.columns)) break;
    ++shown;
  }
  return shown;
}

std::string line_text(const Table& table, const Grid& grid, const std::vector<std::string>& line,
                      std::size_t shown) {
  std::string text;
  for (std::size_t i = 0; i < shown; ++i) {
    if (i > 0) text += std::string(between_columns, ' ');
    text += is_number(table.columns[i].kind) ? padded_left(line[i], grid.widths[i])
                                             : padded_right(line[i], grid.widths[i]);
  }
  while (text.ends_with(' ')) text.pop_back();
  return text;
}

std::string remark(const Style& style, const std::string& text) {
  return wrapped(style, printable(text), 0) + "\n";
}

std::string what_changed(const Change& change) {
  std::string text(word_of(change.kind));
  if (!change.subject.empty()) text += " " + change.subject;
  if (!change.field.empty()) text += ", " + change.field;
  const std::string why = change.why.empty() ? "" : " (" + change.why + ")";
  if (change.before.empty())
    return text + ": " + (change.after.empty() ? "set" : change.after) + why;
  if (change.after.empty()) return text + ": " + change.before + ", which is gone" + why;
  return text + ": " + change.before + " -> " + change.after + why;
}

}  // namespace

std::string table_view(const Style& style, const Table& table) {
  std::string text;
  if (!table.rows.empty() && !table.columns.empty()) {
    const Grid grid = grid_of(table);
    const std::size_t shown = columns_shown(style, grid);
    text = coloured(style, Colour::bold, line_text(table, grid, grid.lines.front(), shown)) + "\n";
    for (std::size_t i = 1; i < grid.lines.size(); ++i)
      text += line_text(table, grid, grid.lines[i], shown) + "\n";
    std::string hidden;
    for (std::size_t i = shown; i < table.columns.size(); ++i)
      hidden += (hidden.empty() ? "" : ", ") + table.columns[i].name;
    if (!hidden.empty())
      text += remark(style, "also, in a wider terminal or with --json: " + hidden);
  }
  if (!table.note.empty()) text += remark(style, table.note);
  if (!table.more.empty()) text += remark(style, "more with --after " + table.more);
  return text.empty() ? "no " + printable(table.title) + "\n" : text;
}

std::string changes_view(const Style& style, const ChangesAnswer& answer) {
  std::string text;
  for (const Change& change : answer.changes)
    text += utc_text(change.at) + "  " + coloured(style, Colour::bold, printable(change.who)) +
            "\n" + std::string(margin, ' ') +
            wrapped(style, printable(what_changed(change)), margin) + "\n";
  if (text.empty()) text = "nothing that you can see was changed\n";
  if (answer.more)
    text += std::cmp_less(answer.changes.size(), limits::changes_page_max)
                ? "there are older ones: ask with a greater --limit\n"
                : "there are older ones, beyond what one answer holds\n";
  if (answer.known_since)
    text +=
        "what was changed before " + utc_text(answer.known_since, Rounding::up) + " is forgotten\n";
  return text;
}

}  // namespace gpupool
