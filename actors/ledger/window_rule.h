#pragma once
// When an account's windows open and end. Rolling ones open with the hold that finds none open and
// last for a length; fixed ones stand in the calendar, in UTC. A window keeps the end that it was
// opened with, which people were told, whatever rule follows: the next one obeys that. Pure.

#include <string>

#include "actors/messages.h"

namespace gpupool {

struct WindowSpan {
  Instant opened{};
  Instant ends{};
};

// The window of a hold that is made at `now` and finds none open. It opens at `earliest` at the
// earliest: no window reaches into one that is remembered, nor before the latest.
WindowSpan window_for(const WindowTerms& rule, Instant now, Instant earliest);

// "24:00:00 (h:mm:ss) from an account's first job on", "every 8:00:00 (h:mm:ss) from 06:00 UTC on".
std::string text_of(const WindowTerms& rule);

WindowTerms terms_of(const WindowConfig& window);

}  // namespace gpupool
