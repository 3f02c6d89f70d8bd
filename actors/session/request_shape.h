#pragma once
// The shape of what a client sends: sizes, counts and text, checked before anything else looks at
// it. Whether the app exists and what it may ask for is the broker's to say. Pure functions.

#include <string>
#include <string_view>
#include <vector>

#include "actors/messages.h"
#include "base/result.h"

namespace gpupool {

// Well-formed UTF-8: shortest forms, no surrogates, nothing above U+10FFFF.
bool is_utf8(std::string_view text);

// bad_request, with what is wrong in `detail`, if the submit, or what is asked for, breaks a bound
// of config/limits.h.
Status check_shape(const ClientSubmit& submit);
Status check_shape(const JobRequest& body);

// Likewise of a piece of files.
Status check_shape(const ClientUpload& upload);

// bad_request, likewise, for the words of an operator's command.
Status check_words(const std::vector<std::string>& words);

}  // namespace gpupool
