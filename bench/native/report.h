// The JSON object that ringway-load prints.
#pragma once

#include <cstdint>
#include <cstdio>

#include "options.h"
#include "result.h"

namespace ringway::bench {

class Report {
 public:
  Report(const Options& options, const Result& result) : options_(options), result_(result) {}

  void Print() const {
    std::printf("{\"protocol\":\"%s\",\"mode\":\"%s\",\"connections\":%d,\"depth\":%d,\"size\":%.0f,\"sizes\":\"%s\",",
                NameOf(options_.protocol), ModeNameOf(options_), options_.connections, options_.depth,
                options_.sizes.mean(), options_.sizes.text().c_str());
    std::printf("\"idle\":%d,\"seconds\":%.3f,\"messages\":%llu,\"msgPerSec\":%.0f,", options_.idle, result_.seconds,
                Count(result_.messages), PerSecond(result_.messages));
    std::printf("\"p50Us\":%.1f,\"p99Us\":%.1f,\"p999Us\":%.1f,\"maxUs\":%.1f,", Us(result_.latency.Quantile(0.5)),
                Us(result_.latency.Quantile(0.99)), Us(result_.latency.Quantile(0.999)), Us(result_.latency.max()));
    PrintTimes("latency_us", result_.latency);
    PrintMode();
    PrintProcesses();
    PrintErrors();
  }

 private:
  static unsigned long long Count(uint64_t number) { return number; }
  static double Us(uint64_t nanoseconds) { return static_cast<double>(nanoseconds) / 1000; }
  double PerSecond(uint64_t number) const { return static_cast<double>(number) / result_.seconds; }
  double PerMessage(double microseconds) const {
    return result_.messages == 0 ? 0 : microseconds / static_cast<double>(result_.messages);
  }

  static void PrintTimes(const char* name, const Histogram& times) {
    std::printf("\"%s\":{\"p50\":%.1f,\"p90\":%.1f,\"p99\":%.1f,\"p999\":%.1f,\"max\":%.1f},", name,
                Us(times.Quantile(0.5)), Us(times.Quantile(0.9)), Us(times.Quantile(0.99)), Us(times.Quantile(0.999)),
                Us(times.max()));
  }

  void PrintMode() const {
    if (options_.open_loop()) {
      std::printf("\"rate\":%.1f,\"arrivals\":%llu,", options_.rate, Count(result_.arrivals));
      PrintTimes("lateness_us", result_.lateness);
    }
    if (options_.mode == Mode::kChurn) {
      std::printf("\"connects\":%llu,\"connects_per_s\":%.0f,", Count(result_.connects), PerSecond(result_.connects));
      PrintTimes("connect_us", result_.connect);
    }
    if (options_.mode == Mode::kStream) {
      std::printf("\"partials\":%llu,\"partials_per_s\":%.0f,", Count(result_.partials), PerSecond(result_.partials));
      PrintTimes("first_us", result_.first_partial);
    }
    if (options_.mode == Mode::kCancel) {
      std::printf("\"cancelled\":%llu,\"answered\":%llu,", Count(result_.cancelled), Count(result_.answered));
    }
  }

  void PrintProcesses() const {
    double total_us = 0;
    std::printf("\"cpu\":[");
    for (const ProcessUse& process : result_.processes) {
      const ProcessCpu& cpu = process.cpu;
      total_us += cpu.total_us();
      std::printf("%s{\"pid\":%d,\"cpuUs\":%.1f,\"userTicks\":%llu,\"systemTicks\":%llu,\"cpuUsPerMessage\":%.4f}",
                  &process == result_.processes.data() ? "" : ",", static_cast<int>(process.pid), cpu.total_us(),
                  Count(cpu.user_ticks), Count(cpu.system_ticks), PerMessage(cpu.total_us()));
    }
    std::printf("],\"cpuUsPerMessage\":%.4f,\"loadCpuUsPerMessage\":%.4f,\"loadCpuFraction\":%.4f,",
                PerMessage(total_us), PerMessage(result_.own_cpu_us), result_.own_cpu_us / 1e6 / result_.seconds);
  }

  void PrintErrors() const {
    const Errors& errors = result_.errors;
    std::printf("\"errors\":%llu,\"wrong\":%llu,\"unexpected\":%llu,\"closed\":%llu,\"missing\":%llu}\n",
                Count(errors.total()), Count(errors.wrong), Count(errors.unexpected), Count(errors.closed),
                Count(errors.missing));
  }

  const Options& options_;
  const Result& result_;
};

}  // namespace ringway::bench
