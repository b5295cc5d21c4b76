#pragma once

#include <cmath>
#include <cstdlib>
#include <iostream>
#include <source_location>
#include <stdexcept>
#include <string_view>

// The few checks the tests need. A failed check prints its place, got and wanted, and ends the test
// program.

namespace mcts::testing {

template <typename Got, typename Wanted>
void ExpectEqual(const Got& got, const Wanted& wanted,
                 std::source_location where = std::source_location::current()) {
  if (got == wanted) return;
  std::cerr << where.file_name() << ":" << where.line() << ": got " << got << ", wanted " << wanted
            << "\n";
  std::exit(1);
}

inline void ExpectNear(double got, double wanted, double tolerance,
                       std::source_location where = std::source_location::current()) {
  if (std::abs(got - wanted) <= tolerance) return;
  std::cerr << where.file_name() << ":" << where.line() << ": got " << got << ", wanted " << wanted
            << " +- " << tolerance << "\n";
  std::exit(1);
}

template <typename Call>
void ExpectRefused(Call call, std::string_view wanted,
                   std::source_location where = std::source_location::current()) {
  std::string_view got = "no exception";
  try {
    call();
  } catch (const std::invalid_argument& error) {
    got = error.what();
    if (got.find(wanted) != std::string_view::npos) return;
    std::cerr << where.file_name() << ":" << where.line() << ": got '" << got << "', wanted '"
              << wanted << "'\n";
    std::exit(1);
  }
  std::cerr << where.file_name() << ":" << where.line() << ": got " << got << ", wanted '" << wanted
            << "'\n";
  std::exit(1);
}

}  // namespace mcts::testing
