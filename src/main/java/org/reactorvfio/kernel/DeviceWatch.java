package org.reactorvfio.kernel;

import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.reactorvfio.PciAddress;
import org.reactorvfio.discovery.DeviceChange;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;
import reactor.core.scheduler.Schedulers;

/** Compares what sysfs shows with what it showed before. */
public final class DeviceWatch {
  private final Doctor doctor;
  private Map<PciAddress, String> known = new HashMap<>();

  private DeviceWatch(Doctor doctor) {
    this.doctor = doctor;
  }

  /** The changes, for each subscriber from the beginning; looks only when what it has seen was taken. */
  public static Flux<DeviceChange> over(Doctor doctor, Duration interval) {
    return Flux.defer(() -> {
      DeviceWatch watch = new DeviceWatch(doctor);
      return Mono.fromCallable(watch::look)
          .subscribeOn(Schedulers.boundedElastic())
          .repeatWhen(rounds -> rounds.delayElements(interval))
          .concatMapIterable(changes -> changes, 1);
    });
  }

  private List<DeviceChange> look() {
    Map<PciAddress, String> now = new HashMap<>();
    List<DeviceChange> changes = new ArrayList<>();
    for (PciAddress address : doctor.functions()) {
      String driver = doctor.driver(address).orElse("");
      now.put(address, driver);
      String before = known.remove(address);
      if (before == null) {
        changes.add(new DeviceChange(DeviceChange.Kind.ADDED, address, driver));
      } else if (!before.equals(driver)) {
        changes.add(new DeviceChange(DeviceChange.Kind.DRIVER_CHANGED, address, driver));
      }
    }
    known.keySet().stream()
        .sorted((a, b) -> a.toString().compareTo(b.toString()))
        .forEach(gone -> changes.add(new DeviceChange(DeviceChange.Kind.REMOVED, gone, "")));
    known = now;
    return changes;
  }
}
