#include "cli/top.h"

#include <ncurses.h>

#include <algorithm>
#include <chrono>
#include <clocale>
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>
#include <sstream>
#include <thread>

#include "actors/describe.h"
#include "base/clock.h"
#include "cli/operator.h"
#include "cli/say.h"
#include "cli/top_view.h"
#include "cli/views.h"
#include "net/json_overview.h"

namespace gpupool {
namespace {

constexpr int key_wait_ms = 200;  // a frame is drawn at least so often
constexpr int escape_key = 27;
constexpr std::size_t commands_max = 8;

// What the asking thread found last.
struct Seen {
  Shared<Overview> overview;
  Instant at{};  // by this machine's steady clock
  std::string pool;
  std::string link;  // empty: live
  std::string notice;
  std::vector<std::string> page;
};

// Asks for the overview again and again, and in between carries out commands. A pool that is lost
// is looked for until it is found; what was seen last, at first `first`, stays.
class Asker {
 public:
  Asker(const Connection& connection, std::unique_ptr<Client> client, Shared<Overview> first,
        Duration interval)
      : connection_(connection),
        client_(std::move(client)),
        interval_(std::chrono::milliseconds(interval.ms)) {
    saw(std::move(first));
    thread_ = std::thread([this] { run(); });
  }
  ~Asker() {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
      if (client_) client_->interrupt();
    }
    wake_.notify_all();
    thread_.join();
  }
  Asker(const Asker&) = delete;
  Asker& operator=(const Asker&) = delete;

  Seen seen() {
    const std::lock_guard lock(mutex_);
    Seen now = seen_;
    seen_.notice.clear();
    seen_.page.clear();
    return now;
  }
  void operate(std::vector<std::string> words) {
    add([words = std::move(words)](Client& client) -> Seen {
      const auto table = client.operate(words);
      if (!table) return {.notice = "refused: " + describe(table.error())};
      return {.notice = table->note.empty() ? words.front() + ": done" : table->note};
    });
  }
  void explain(JobId job) {
    add([job](Client& client) -> Seen {
      const auto story = client.explain(job);
      if (!story) return {.notice = "not explained: " + describe(story.error())};
      std::vector<std::string> page{"job " + std::to_string(job.value), ""};
      for (const Happening& one : story->story) page.push_back(utc_text(one.at) + "  " + one.text);
      return {.page = std::move(page)};
    });
  }

 private:
  using Command = std::function<Seen(Client&)>;

  void add(Command command) {
    const std::lock_guard lock(mutex_);
    if (commands_.size() >= commands_max) return;
    commands_.push_back(std::move(command));
    wake_.notify_all();
  }

  void run() {
    std::unique_lock lock(mutex_);
    while (!stopping_) {
      lock.unlock();
      look();
      lock.lock();
      wake_.wait_for(lock, interval_,
                     [this] { return stopping_ || (client_ && !commands_.empty()); });
      if (!client_ && !commands_.empty()) {
        commands_.clear();
        seen_.notice = "not done: the pool is not there";
      }
      while (!stopping_ && !commands_.empty() && client_) {
        const Command command = std::move(commands_.front());
        commands_.pop_front();
        lock.unlock();
        Seen answer = command(*client_);
        lock.lock();
        seen_.notice = std::move(answer.notice);
        seen_.page = std::move(answer.page);
      }
    }
  }

  void look() {
    if (!client_) {
      auto found = connect(connection_);
      const std::lock_guard lock(mutex_);
      if (!found) {
        seen_.link = describe(found.error());
        return;
      }
      client_ = std::move(*found);
      if (stopping_) client_->interrupt();
    }
    auto overview = client_->overview();
    const std::lock_guard lock(mutex_);
    if (overview) return saw(*std::move(overview));
    seen_.link = describe(overview.error());
    const Errc code = overview.error().code;
    if (code == Errc::not_connected || code == Errc::unauthenticated) client_.reset();
  }

  void saw(Shared<Overview> overview) {
    seen_.overview = std::move(overview);
    seen_.at = boot_time();
    seen_.pool = client_->welcome().pool;
    seen_.link.clear();
  }

  const Connection connection_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::unique_ptr<Client> client_;  // replaced under the mutex, by the thread alone
  const std::chrono::milliseconds interval_;
  bool stopping_ = false;  // guarded by it, as are the next two
  std::deque<Command> commands_;
  Seen seen_;
  std::thread thread_;  // it uses everything above
};

// ---- The screen --------------------------------------------------------------------------------

int pair_of(Colour colour) {
  switch (colour) {
    case Colour::red:
      return 1;
    case Colour::green:
      return 2;
    case Colour::yellow:
      return 3;
    case Colour::cyan:
      return 4;
    default:
      return 0;
  }
}

class Screen {
 public:
  Screen() {
    std::setlocale(LC_ALL, "");
    initscr();
    cbreak();
    noecho();
    keypad(stdscr, TRUE);
    curs_set(0);
    timeout(key_wait_ms);
    set_escdelay(50);
    has_colours_ = has_colors() && style_of(1).colours;
    if (!has_colours_) return;
    start_color();
    use_default_colors();
    const short colours[] = {COLOR_RED, COLOR_GREEN, COLOR_YELLOW, COLOR_CYAN};
    for (short i = 0; i < 4; ++i) init_pair(static_cast<short>(i + 1), colours[i], -1);
  }
  ~Screen() { endwin(); }
  Screen(const Screen&) = delete;
  Screen& operator=(const Screen&) = delete;

  static std::size_t rows() { return static_cast<std::size_t>(std::max(getmaxy(stdscr), 1)); }
  static Style style() {
    Style style = style_of(1);
    style.columns = std::max(getmaxx(stdscr), 20);
    style.colours = false;  // the attributes are the screen's
    return style;
  }
  void draw(const std::vector<TopLine>& lines) const {
    erase();
    for (std::size_t i = 0; i < lines.size(); ++i) {
      attr_t attributes = A_NORMAL;
      if (lines[i].colour == Colour::bold) attributes |= A_BOLD;
      if (lines[i].colour == Colour::dim) attributes |= A_DIM;
      if (lines[i].reverse) attributes |= A_REVERSE;
      if (has_colours_) attributes |= static_cast<attr_t>(COLOR_PAIR(pair_of(lines[i].colour)));
      attrset(static_cast<int>(attributes));
      mvaddstr(static_cast<int>(i), 0, lines[i].text.c_str());
    }
    refresh();
  }

 private:
  bool has_colours_ = false;
};

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  if (lines.empty()) lines.emplace_back();
  return lines;
}

// ---- Keys --------------------------------------------------------------------------------------

class Keys {
 public:
  Keys(Asker& asker, TopState& state) : asker_(asker), state_(state) {}

  // False: the operator wants to end.
  bool press(int key, const Overview& overview, std::size_t rows) {
    if (typing_) return type(key);
    if (asked_) return confirm(key);
    if (!state_.page.empty() && (key == 'q' || key == escape_key || key == 'h' || key == '?')) {
      state_.page.clear();
      state_.cursor = std::exchange(list_cursor_, 0);
      return true;
    }
    state_.notice.clear();
    // The cursor is the page's as long as there is one: no row is meant.
    if (!state_.page.empty()) {
      move(key, overview, rows);
      return true;
    }
    switch (key) {
      case 'q':
        return false;
      case 'h':
      case '?':
        show(top_help());
        break;
      case '\t':
        next_list();
        break;
      case 's':
        state_.order = static_cast<TopOrder>((static_cast<int>(state_.order) + 1) % 3);
        break;
      case '/':
        typing_ = true;
        ask_filter();
        break;
      case 'd':
        drain(overview);
        break;
      case 'c':
        ask_cancel(overview);
        break;
      case 'e':
        explain(overview);
        break;
      default:
        move(key, overview, rows);
    }
    return true;
  }

  void show(std::vector<std::string> page) {
    if (state_.page.empty()) list_cursor_ = state_.cursor;
    state_.page.clear();
    for (const std::string& line : page)
      for (std::string& piece : lines_of(wrapped(Screen::style(), printable(line), 2)))
        state_.page.push_back(std::move(piece));
    state_.cursor = 0;
  }

 private:
  bool type(int key) {
    if (key == '\n' || key == KEY_ENTER || key == escape_key) {
      typing_ = false;
      state_.notice.clear();
      if (key == escape_key) state_.filter.clear();
      return true;
    }
    if ((key == KEY_BACKSPACE || key == 127 || key == '\b') && !state_.filter.empty())
      state_.filter.pop_back();
    if (key >= ' ' && key < 127 && state_.filter.size() < 64)
      state_.filter += static_cast<char>(key);
    state_.cursor = 0;
    ask_filter();
    return true;
  }
  void ask_filter() {
    state_.notice = "filter: " + state_.filter + "_   (enter ends, escape: all)";
  }

  bool confirm(int key) {
    if (key == 'y') asker_.operate(*asked_);
    state_.notice = key == 'y' ? "asked for: " + asked_->front() : "not done";
    asked_.reset();
    return true;
  }

  void next_list() {
    state_.list = static_cast<TopList>((static_cast<int>(state_.list) + 1) % 3);
    state_.cursor = 0;
  }
  void drain(const Overview& overview) {
    const TopRow row = top_row(overview, state_);
    if (row.node.empty()) {
      state_.notice = "this row is on no node";
      return;
    }
    const auto node = std::find_if(overview.nodes.begin(), overview.nodes.end(),
                                   [&](const NodeView& one) { return one.name == row.node; });
    const bool drains = node != overview.nodes.end() && node->state == NodeState::draining;
    asked_ = std::vector<std::string>{drains ? "resume" : "drain", row.node};
    state_.notice = asked_->front() + " " + row.node + "? y: yes, any other key: no";
  }
  void ask_cancel(const Overview& overview) {
    const TopRow row = top_row(overview, state_);
    if (!row.job) {
      state_.notice = "this row has no job";
      return;
    }
    asked_ = std::vector<std::string>{"cancel", std::to_string(row.job.value)};
    state_.notice = "cancel job " + asked_->back() + "? y: yes, any other key: no";
  }
  void explain(const Overview& overview) {
    const TopRow row = top_row(overview, state_);
    if (row.job)
      asker_.explain(row.job);
    else
      state_.notice = "this row has no job";
  }
  void move(int key, const Overview& overview, std::size_t rows) {
    const std::size_t last = std::max<std::size_t>(top_size(overview, state_), 1) - 1;
    const std::size_t page = std::max<std::size_t>(rows / 2, 1);
    std::size_t& cursor = state_.cursor;
    if (key == KEY_DOWN || key == 'j') ++cursor;
    if ((key == KEY_UP || key == 'k') && cursor > 0) --cursor;
    if (key == KEY_NPAGE) cursor += page;
    if (key == KEY_PPAGE) cursor -= std::min(cursor, page);
    if (key == KEY_HOME) cursor = 0;
    if (key == KEY_END) cursor = last;
    cursor = std::min(cursor, last);
  }

  Asker& asker_;
  TopState& state_;
  bool typing_ = false;                            // the filter
  std::optional<std::vector<std::string>> asked_;  // a command that waits for its "y"
  std::size_t list_cursor_ = 0;                    // while a page is shown
};

ExitCode print_once(const Connection& connection, Client& client) {
  const auto overview = client.overview();
  if (!overview) return say_console_error(connection, overview.error());
  if (connection.json) {
    Json json{{"pool", client.welcome().pool}, {"build", client.welcome().build}};
    json.update(json_of(**overview));
    print(text_of(json));
    return ExitCode::done;
  }
  const Style style = style_of(1);
  const TopState state;
  auto lines = top_lines(style, top_height(**overview), client.welcome().pool, **overview,
                         (*overview)->at, state);
  lines.pop_back();  // what keys do
  std::string text;
  for (const TopLine& line : lines) text += line.text + "\n";
  print(text);
  return ExitCode::done;
}

}  // namespace

ExitCode top(const Connection& connection, const TopOptions& options) {
  auto client = connect(connection);
  if (!client) return say_error(connection, client.error());
  if (options.once || connection.json || !style_of(1).is_terminal)
    return print_once(connection, **client);
  // Who may not look is told so, rather than shown an empty screen.
  auto first = (*client)->overview();
  if (!first) return say_console_error(connection, first.error());
  const Duration interval{static_cast<std::int64_t>(options.interval_s * 1000)};
  Asker asker(connection, std::move(*client), *std::move(first), interval);
  const Screen screen;
  TopState state;
  Keys keys(asker, state);
  Seen last;
  for (;;) {
    Seen seen = asker.seen();
    if (!seen.page.empty()) keys.show(std::exchange(seen.page, {}));
    if (!seen.notice.empty()) state.notice = seen.notice;
    last = std::move(seen);
    TopLink link = top_link({.age = boot_time() - last.at, .interval = interval}, last.link);
    state.link = std::move(link.link);
    const Instant now = last.overview->at + link.ran_on;
    screen.draw(top_lines(Screen::style(), Screen::rows(), last.pool, *last.overview, now, state));
    const int key = getch();
    if (key != ERR && !keys.press(key, *last.overview, Screen::rows())) return ExitCode::done;
  }
}

}  // namespace gpupool
