package org.reactorvfio.kernel;

import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import reactor.core.publisher.Flux;
import reactor.core.scheduler.Scheduler;

/**
 * Notices that a device is being taken away by what the kernel does first: it removes VFIO's own entry of the device from sysfs,
 * and then waits for whoever has the device open. Drivers of vfio-pci's kind signal an interrupt as well; mtty, for one, has
 * none. A look at a directory takes no lock of the device.
 */
final class Removal {
  private static final Duration INTERVAL = Duration.ofSeconds(1);

  private Removal() {}

  /** Ends when an entry that is there now is there no more; never, if there is none (Linux before 6.1). */
  static Flux<Void> of(SysfsDevice device, Scheduler scheduler) {
    return device
        .cdev()
        .map(name -> device.directory().resolve("vfio-dev").resolve(name))
        .map(entry -> gone(entry, scheduler))
        .orElse(Flux.never());
  }

  private static Flux<Void> gone(Path entry, Scheduler scheduler) {
    return Flux.interval(INTERVAL, scheduler)
        .onBackpressureDrop()
        .takeUntil(turn -> !Files.exists(entry))
        .thenMany(Flux.empty());
  }
}
