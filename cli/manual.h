#pragma once
// A program's page of the manual in roff, for man(1): made of its command line as CLI11 knows it,
// and of what only a person can say (files, variables, examples). The page is the same on every
// machine: it has the version and no date. Pure.

#include <string>
#include <vector>

#include "cli/command_tree.h"

namespace gpupool {

struct ManualEntry {
  std::string name;
  std::string text;
};

// A section of its own: entries, then lines as they stand.
struct ManualPart {
  std::string title;  // "FILES"
  std::vector<ManualEntry> entries;
  std::string lines;
};

struct ManualText {
  std::string section;  // of the manual: "1"
  std::string summary;  // one line, which apropos(1) finds
  std::string version;
  std::vector<std::string> paragraphs;
  std::string common_footer;  // stands below the help of every command, and not in the page
  std::string exit_codes;     // "Exit codes: 0 done, 2 usage."
  std::vector<ManualPart> parts;
  std::vector<std::string> see_also;  // "gpupoold(8)"
};

std::string manual_of(const CommandEntry& program, const ManualText& text);

}  // namespace gpupool
