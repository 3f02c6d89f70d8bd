#include "cli/progress.h"

#include <cstdio>

#include "cli/views.h"

namespace gpupool {
namespace {

constexpr std::uint32_t lines_of_a_run = 10;  // where every step would fill a log

}  // namespace

// In a log: every change of state, node, notice or position, and each tenth of a run.
bool Progress::worth_a_line(const JobEvent& event) const {
  const auto found = last_.find(event.job);
  if (found == last_.end()) return true;
  const JobEvent& last = found->second;
  if (event.state != last.state || event.position != last.position ||
      event.attempt != last.attempt || event.notice != last.notice)
    return true;
  if (event.of_steps == 0) return false;
  const auto tenth = [&](std::uint32_t step) {
    return std::uint64_t{step} * lines_of_a_run / event.of_steps;
  };
  return tenth(event.step) != tenth(last.step);
}

void Progress::show(const JobEvent& event) {
  if (show_ == Show::nothing) return;
  if (style_.is_terminal) {
    // One column stays free: a full line would make some terminals scroll.
    Style line = style_;
    line.columns -= 1;
    std::string text = progress_text(line, event);
    if (event.state != JobState::running)
      text = shortened(line, text, static_cast<std::size_t>(line.columns));
    std::fprintf(stderr, "\r\x1b[K%s", text.c_str());
    line_open_ = true;
  } else if (worth_a_line(event)) {
    std::fprintf(stderr, "%s\n", progress_text(style_, event).c_str());
  }
  std::fflush(stderr);
  last_[event.job] = event;
}

void Progress::note(const std::string& text) {
  if (show_ == Show::nothing) return;
  clear();
  std::fprintf(stderr, "%s\n", wrapped(style_, printable(text), 0).c_str());
  std::fflush(stderr);
}

void Progress::clear() {
  if (!line_open_) return;
  std::fprintf(stderr, "\r\x1b[K");
  std::fflush(stderr);
  line_open_ = false;
}

}  // namespace gpupool
