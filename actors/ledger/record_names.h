#pragma once
// What the kinds of records and their fields are called outside of the pool, in exports: names that
// stay as they are once they were written. A kind without a name, or a struct with more or fewer
// fields than names, does not compile; tests/cli/record_json_test.cpp compares the names with those
// of the members. Pure.

#include <array>
#include <concepts>
#include <string_view>
#include <tuple>
#include <variant>

#include "actors/ledger/records.h"

namespace gpupool {

struct Unnamed {};

// Of a kind of record. New kinds get theirs here.
template <class Body>
inline constexpr Unnamed kind_name{};
template <>
inline constexpr std::string_view kind_name<EpochRaised> = "epoch_raised";
template <>
inline constexpr std::string_view kind_name<HoldOpened> = "hold_opened";
template <>
inline constexpr std::string_view kind_name<LeaseNoted> = "lease_noted";
template <>
inline constexpr std::string_view kind_name<JobRequeued> = "job_requeued";
template <>
inline constexpr std::string_view kind_name<PromiseRestated> = "promise_restated";
template <>
inline constexpr std::string_view kind_name<HoldSettled> = "hold_settled";
template <>
inline constexpr std::string_view kind_name<TermsSet> = "terms_set";
template <>
inline constexpr std::string_view kind_name<AccountTierSet> = "account_tier_set";
template <>
inline constexpr std::string_view kind_name<TokenRevoked> = "token_revoked";
template <>
inline constexpr std::string_view kind_name<DrainingSet> = "draining_set";
template <>
inline constexpr std::string_view kind_name<AnnouncementSet> = "announcement_set";
template <>
inline constexpr std::string_view kind_name<CreditsGranted> = "credits_granted";
template <>
inline constexpr std::string_view kind_name<QuotaAdjusted> = "quota_adjusted";
template <>
inline constexpr std::string_view kind_name<HoldExtended> = "hold_extended";

namespace detail {

template <class... Names>
constexpr std::array<std::string_view, sizeof...(Names)> names(Names... each) {
  return {std::string_view{each}...};
}

}  // namespace detail

// Of a struct's fields, in the order of its fields(). One whose only field is what it is (an id, a
// time, an amount) has none: it is written as that field.
template <class Struct>
inline constexpr Unnamed field_names{};
template <>
inline constexpr auto field_names<EpochRaised> = detail::names("epoch");
template <>
inline constexpr auto field_names<HoldOpened> = detail::names("hold", "token_tier", "used", "held");
template <>
inline constexpr auto field_names<Hold> =
    detail::names("job", "request", "body_hash", "account", "tier", "body", "partition", "slots",
                  "factor", "declared", "occupancy", "tier_rank", "quota_band", "promise",
                  "quota_part", "credits_part", "window_opened", "admitted_at", "recognised_by",
                  "window_ends", "learned", "blob", "files", "credits_from");
template <>
inline constexpr auto field_names<BlobRef> = detail::names("hash", "bytes");
template <>
inline constexpr auto field_names<JobRequest> = detail::names("app", "size", "declared", "max_wait",
                                                              "detached", "arguments");
template <>
inline constexpr auto field_names<Argument> = detail::names("key", "value");
template <>
inline constexpr auto field_names<LeaseNoted> = detail::names("job", "attempt", "node",
                                                              "node_name");
template <>
inline constexpr auto field_names<JobRequeued> = detail::names("job", "attempt", "cause", "detail",
                                                               "promise");
template <>
inline constexpr auto field_names<PromiseRestated> = detail::names("job", "promise", "reason");
template <>
inline constexpr auto field_names<HoldSettled> =
    detail::names("job", "outcome", "cause", "detail", "ran", "charged_quota", "charged_credits",
                  "attempt", "leased_at", "node", "result", "left", "log", "exit_code", "signal");
template <>
inline constexpr auto field_names<ResultRef> = detail::names("hash", "bytes", "media_type", "node");
template <>
inline constexpr auto field_names<TermsSet> = detail::names("tiers", "apps", "changes", "window",
                                                            "settings");
template <>
inline constexpr auto field_names<SettingTerms> = detail::names("kind", "subject", "field", "text");
template <>
inline constexpr auto field_names<WindowTerms> = detail::names("kind", "length", "starts");
template <>
inline constexpr auto field_names<TierTerms> = detail::names("name", "allowance", "longest", "rank",
                                                             "jobs_max");
template <>
inline constexpr auto field_names<AppTerms> = detail::names("name", "size", "default_duration",
                                                            "longest", "tiers", "automatic");
template <>
inline constexpr auto field_names<Change> = detail::names("at", "who", "kind", "subject", "field",
                                                          "before", "after", "why");
template <>
inline constexpr auto field_names<AccountTierSet> = detail::names("account", "tier", "changes");
template <>
inline constexpr auto field_names<TokenRevoked> = detail::names("revocation", "changes");
template <>
inline constexpr auto field_names<Revocation> = detail::names("token_id", "account",
                                                              "issued_before", "forget_at");
template <>
inline constexpr auto field_names<DrainingSet> = detail::names("node", "draining", "changes");
template <>
inline constexpr auto field_names<AnnouncementSet> = detail::names("text", "changes");
template <>
inline constexpr auto field_names<CreditsGranted> = detail::names("id", "body_hash", "account",
                                                                  "amount", "before", "after",
                                                                  "changes");
template <>
inline constexpr auto field_names<QuotaAdjusted> = detail::names("id", "body_hash", "account",
                                                                 "window_opened", "amount",
                                                                 "before", "after", "changes");
template <>
inline constexpr auto field_names<HoldExtended> = detail::names("job", "number", "quota_part",
                                                                "credits_part", "tier");

template <class Struct>
inline constexpr std::size_t field_count =
    std::tuple_size_v<decltype(std::declval<Struct&>().fields())>;

template <class Struct>
inline constexpr bool has_field_names =
    !std::same_as<std::remove_cvref_t<decltype(field_names<Struct>)>, Unnamed>;

// The names of this struct; there is one for every field, or this does not compile.
template <class Struct>
constexpr const auto& names_of_fields() {
  static_assert(has_field_names<Struct>, "name the fields of this struct in record_names.h");
  static_assert(field_names<Struct>.size() == field_count<Struct>,
                "this struct has fields that record_names.h does not name");
  return field_names<Struct>;
}

// The name of this kind of record.
template <class Body>
constexpr std::string_view name_of_kind() {
  static_assert(!std::same_as<std::remove_cvref_t<decltype(kind_name<Body>)>, Unnamed>,
                "name this kind of record in record_names.h");
  (void)names_of_fields<Body>();
  return kind_name<Body>;
}

namespace detail {

template <class... Bodies>
constexpr std::array<std::string_view, sizeof...(Bodies)> kind_names_of(
    const std::variant<Bodies...>*) {
  return {name_of_kind<Bodies>()...};
}

}  // namespace detail

// Of every kind, by its place in RecordBody.
inline constexpr auto kind_names = detail::kind_names_of(static_cast<const RecordBody*>(nullptr));

}  // namespace gpupool
