#include "actors/broker/admission.h"

#include <algorithm>

#include "actors/worker/command_arguments.h"
#include "actors/worker/diffusion_arguments.h"
#include "config/limits.h"
#include "config/parameter.h"

namespace gpupool {
namespace {

// The first of several failures is the one with the lowest number: errors.def lists them in order.
void object(Admission& admission, const Error& error) {
  if (admission.verdict != Errc{} && admission.verdict <= error.code) return;
  admission.verdict = error.code;
  admission.want = error.want;
  admission.have = error.have;
  admission.detail = error.detail;
}

template <class Named>
std::string names_of(const std::vector<Named>& all) {
  std::string names;
  for (const auto& one : all) names += (names.empty() ? "" : ", ") + one.name;
  return names;
}

void examine_size(const Config& config, const std::string& name, Admission& admission) {
  admission.size = name;
  const SizeConfig* size = config.size(name);
  if (!size) {
    object(admission,
           {.code = Errc::bad_request,
            .detail = "no size is called \"" + name + "\"; sizes: " + names_of(config.sizes)});
    return;
  }
  admission.slots = size->slots;
  admission.factor = size->factor;
}

void examine_duration(const AppConfig& app, Duration declared, Admission& admission) {
  admission.automatic = app.automatic && declared == Duration{};
  if (declared == Duration{}) declared = app.automatic ? app.longest : app.default_duration;
  if (declared < Duration{} || declared > app.longest)
    object(admission,
           {.code = Errc::illegal_duration, .want = declared.ms, .have = app.longest.ms});
  // An absurd number is refused above; clamped here it can't overflow the arithmetic of its
  // refusal.
  admission.declared = std::clamp(declared, Duration{}, Duration{limits::duration_ms_max});
}

// Its caller computes: whoever asks it to run something would hold a slot for nothing.
void examine_lease_arguments(const std::vector<Argument>& arguments, Admission& admission) {
  const auto other = std::find_if(arguments.begin(), arguments.end(), [](const Argument& one) {
    return one.key != space_argument && one.key != task_argument;
  });
  if (other != arguments.end())
    object(admission, {.code = Errc::bad_request,
                       .detail = "there is no argument " + in_quotes(other->key) +
                                 "; this app runs nothing, it lends its slots to processes of the "
                                 "caller (gpupool.Pool.lease(), or the device API of a node)"});
}

void examine_arguments(const AppConfig& app, const JobRequest& body, Admission& admission) {
  if (app.executor == ExecutorKind::external) examine_lease_arguments(body.arguments, admission);
  if (app.executor == ExecutorKind::command) {
    const auto words = command_words(app.command, body.arguments);
    if (!words) object(admission, words.error());
    admission.files = files_of(app.command, body.arguments);
    const std::string unset = unset_secrets(app.command);
    if (!unset.empty())
      object(admission, {.code = Errc::forbidden,
                         .detail = "the app runs nothing until its secrets are set in the "
                                   "configuration: " +
                                   unset});
  }
  if (app.executor != ExecutorKind::diffusion) return;
  const auto arguments = parse_diffusion_arguments(body.arguments);
  if (!arguments) object(admission, arguments.error());
}

}  // namespace

Admission examine(const Config& config, const JobRequest& body, Asking asking) {
  Admission admission;
  if (body.max_wait < Duration{})
    object(admission, {.code = Errc::bad_request,
                       .detail = "max_wait is negative; leave it out to wait as long as needed"});
  const AppConfig* app = config.app(body.app);
  if (!app) {
    object(admission, {.code = Errc::unknown_app, .detail = "its apps: " + names_of(config.apps)});
    examine_size(config, body.size.empty() ? "large" : body.size, admission);
    admission.declared = std::clamp(body.declared, Duration{}, Duration{limits::duration_ms_max});
    return admission;
  }
  admission.partition = app->partition;
  admission.app_longest = app->longest;
  admission.spread = app->spread;
  if (asking == Asking::submit) examine_arguments(*app, body, admission);
  examine_duration(*app, body.declared, admission);
  examine_size(config, body.size.empty() ? app->size : body.size, admission);
  admission.occupancy = occupancy_of(config, *app, admission.declared);
  return admission;
}

}  // namespace gpupool
