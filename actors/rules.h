#pragma once
// Which rule stands behind a refusal and where it is set: the table and the key of
// config/gpupool.toml with its value, as far as the refusal's own numbers tell, or that it is
// fixed. And whose fault the end of a run is. Stories, views and JSON all take it from here. Pure
// functions.

#include <cstdint>
#include <string>
#include <string_view>

#include "actors/messages.h"

namespace gpupool {

// "[[tiers]] free.allowance_s = 210"; empty: no rule of the pool's said no.
std::string rule_of(const Refusal& refusal);

// A key of a table with a name: "[[sizes]] xlarge.factor", and with its value in seconds
// "[[apps]] emoji.longest_s = 300", or as it stands there.
struct Setting {
  std::string_view table;
  std::string_view name;  // empty: not known
  std::string_view key;
  std::string text() const;
  std::string equals(Duration value) const;
  std::string equals(std::int64_t value) const;
};

// Who said how long a job may run.
enum class DeclaredBy : std::uint8_t { unknown = 0, request = 1, app = 2, learned = 3 };
DeclaredBy declared_by(const JobRequest& body, Duration learned);
// "--duration", "[[apps]] emoji.default_duration_s"; empty: it is not known.
std::string text_of(DeclaredBy by, const std::string& app);

// How the detail of a refusal begins that met the list of an app's tiers.
inline constexpr std::string_view tiers_open_to = "it is open to ";

// Whether an illegal duration met the tier's longest cost; otherwise it was the app's longest.
bool is_tiers_cap(const Refusal& refusal);

// The user pays nothing for it (design 2.4).
bool is_pool_fault(Errc cause);
// Why a job that is over costs nothing; empty: it costs what it ran.
std::string uncharged_text(const Receipt& receipt);

}  // namespace gpupool
