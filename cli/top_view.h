#pragma once
// What `gpupool top` shows: an overview and what the operator looks at, as lines that fit the
// screen. Pure: the screen and the keys are cli/top.h's.

#include <cstdint>
#include <string>
#include <vector>

#include "actors/messages/overview.h"
#include "cli/terminal.h"

namespace gpupool {

enum class TopList : std::uint8_t { slots, queue, nodes };
enum class TopOrder : std::uint8_t { place, time, account };

// What the operator looks at.
struct TopState {
  TopList list = TopList::slots;  // has the cursor
  TopOrder order = TopOrder::place;
  std::size_t cursor = 0;         // a row of that list, as it is ordered and filtered
  std::string filter;             // a part of a node's, account's, app's or job's name; empty: all
  std::string link;               // empty: live; else what is wrong, for people
  std::string notice;             // the last command's answer, or the question that waits for a key
  std::vector<std::string> page;  // shown instead of the lists: help, or a job's story
};

struct TopLine {
  std::string text;
  Colour colour = Colour::plain;
  bool reverse = false;  // the row of the cursor
};

// How long ago the overview came, and how often one is asked for.
struct TopAge {
  Duration age;
  Duration interval;
};
// What may be said of it: how far the pool's clock has run on, and what is wrong.
struct TopLink {
  Duration ran_on;
  std::string link;  // as TopState's
};

// What the row of the cursor stands for.
struct TopRow {
  std::string node;
  JobId job;
};

// Exactly `rows` lines of at most style.columns columns each.
std::vector<TopLine> top_lines(const Style& style, std::size_t rows, const std::string& pool,
                               const Overview& overview, Instant now, const TopState& state);
// Nothing if the list is empty.
TopRow top_row(const Overview& overview, const TopState& state);
// How many rows the list has.
std::size_t top_size(const Overview& overview, const TopState& state);

// A pool that has not answered for twice the interval and a second is not live, although nobody has
// given it up yet: its clock stands from then on. `link` is what was found wrong, if anything.
TopLink top_link(const TopAge& age, const std::string& link);

// How many rows it takes to show all slots and the queue.
std::size_t top_height(const Overview& overview);

// What the keys do, one line each.
std::vector<std::string> top_help();

}  // namespace gpupool
