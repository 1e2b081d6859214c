package org.reactorvfio.kernel;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import reactor.core.scheduler.Schedulers;
import reactor.test.StepVerifier;

/** A device whose entry goes from sysfs is on its way out. */
class RemovalTest {
  private static final String NAME = "83b8f4f2-509f-382f-3c1e-e6bfe0fa1001";

  @TempDir
  private Path root;

  private SysfsDevice device() {
    return SysfsDevice.onBus(root, SysfsDevice.MDEV, NAME);
  }

  @Test
  void endsWithTheEntry() {
    new FakeSysfs(root).device("mdev", NAME, "mtty", 9).entry("mdev", NAME, "vfio2");
    StepVerifier.withVirtualTime(() -> Removal.of(device(), Schedulers.boundedElastic()))
        .expectSubscription()
        .expectNoEvent(Duration.ofMinutes(1))
        .then(this::remove)
        .thenAwait(Duration.ofSeconds(2))
        .verifyComplete();
  }

  private void remove() {
    try {
      Path entry = root.resolve("devices/mdev/" + NAME + "/vfio-dev/vfio2");
      Files.delete(entry.resolve("device"));
      Files.delete(entry);
    } catch (IOException e) {
      throw new IllegalStateException(e);
    }
  }

  @Test
  void neverEndsWhereTheKernelShowsNone() {
    new FakeSysfs(root).device("mdev", NAME, "mtty", 9);
    StepVerifier.withVirtualTime(() -> Removal.of(device(), Schedulers.boundedElastic()))
        .expectSubscription()
        .expectNoEvent(Duration.ofHours(1))
        .thenCancel()
        .verify();
  }
}
