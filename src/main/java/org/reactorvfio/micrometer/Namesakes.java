package org.reactorvfio.micrometer;

import io.micrometer.core.instrument.FunctionCounter;
import io.micrometer.core.instrument.Gauge;
import io.micrometer.core.instrument.Meter;
import io.micrometer.core.instrument.MeterRegistry;
import io.micrometer.core.instrument.Tags;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.function.ToDoubleFunction;

/**
 * What shares meters, because it shares a name: most often one thing. Adding, removing and registering are for one thread at a time;
 * the meters are read by any.
 */
final class Namesakes<T> {
  private final MeterRegistry registry;
  private final Tags tags;
  private final List<Meter> meters = new ArrayList<>();

  /** How often each was added. */
  private final Map<T, Integer> members = new ConcurrentHashMap<>();

  Namesakes(MeterRegistry registry, Tags tags) {
    this.registry = registry;
    this.tags = tags;
  }

  void add(T member) {
    members.merge(member, 1, Integer::sum);
  }

  /** Takes one out that was added. Returns whether none is left; then the meters are gone, too. */
  boolean remove(T member) {
    members.computeIfPresent(member, (same, times) -> times == 1 ? null : times - 1);
    if (!members.isEmpty()) {
      return false;
    }
    removeMeters();
    return true;
  }

  void removeMeters() {
    meters.forEach(registry::remove);
  }

  double sum(ToDoubleFunction<T> value) {
    return members.keySet().stream().mapToDouble(value).sum();
  }

  Namesakes<T> counter(String name, String unit, String description, ToDoubleFunction<T> value) {
    meters.add(FunctionCounter.builder(name, this, all -> all.sum(value))
        .tags(tags)
        .baseUnit(unit)
        .description(description)
        .register(registry));
    return this;
  }

  Namesakes<T> gauge(String name, String unit, String description, ToDoubleFunction<T> value) {
    return ratio(name, unit, description, all -> all.sum(value));
  }

  /** A gauge that is not the sum of what each has. */
  Namesakes<T> ratio(
      String name, String unit, String description, ToDoubleFunction<Namesakes<T>> value) {
    meters.add(Gauge.builder(name, this, value)
        .tags(tags)
        .baseUnit(unit)
        .description(description)
        .register(registry));
    return this;
  }
}
