#pragma once
// A job's way, shown as it goes: on a terminal one line that is written over, elsewhere (a log, a
// pipe) one line for each thing that changed. Writes to standard error, so that standard output
// holds the answer alone. Clears its line when it ends.

#include <map>
#include <string>

#include "actors/messages.h"
#include "cli/terminal.h"

namespace gpupool {

class Progress {
 public:
  enum class Show : std::uint8_t { everything, nothing };

  Progress(Show show, const Style& style) : show_(show), style_(style) {}
  ~Progress() { clear(); }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void show(const JobEvent& event);
  // A line that stays, above the progress.
  void note(const std::string& text);
  void clear();

 private:
  bool worth_a_line(const JobEvent& event) const;

  const Show show_;
  const Style style_;
  bool line_open_ = false;
  std::map<JobId, JobEvent> last_;  // what was shown of each job
};

}  // namespace gpupool
