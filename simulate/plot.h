#pragma once
// plot_of: two charts as one SVG, which shows in any browser, light or dark: how many of the
// requests waited at most so long, and how much of the slots was occupied when. Pure.

#include <string>
#include <vector>

namespace gpupool {

struct PlotLine {
  std::string name;
  std::vector<double> waits_s;   // in any order
  std::vector<double> occupied;  // shares of the slots over equal parts of the time
  double span_s = 0;
};

std::string plot_of(const std::string& title, std::vector<PlotLine> lines);

}  // namespace gpupool
