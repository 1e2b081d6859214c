package org.reactorvfio.kernel;

import java.util.Optional;
import org.reactorvfio.linux.LinuxException;
import org.reactorvfio.linux.Mapping;
import org.reactorvfio.linux.Syscalls;
import org.reactorvfio.operations.DelegatingOperations;
import org.reactorvfio.operations.MappedRegion;
import org.reactorvfio.operations.MigrationData;
import org.reactorvfio.operations.MigrationState;
import org.reactorvfio.operations.MigrationSupport;
import org.reactorvfio.operations.VfioOperations;
import reactor.core.publisher.Mono;

/** What a device of the kernel is made of, over files in memory: for what can be measured without one. */
public final class BenchKernel {
  private BenchKernel() {}

  /** Maps a file as a BAR is mapped. */
  public static MappedRegion map(int fd, long size) throws LinuxException {
    return new KernelMappedRegion("bench", 0, 0, size, Mapping.map(fd, 0, size, true));
  }

  /**
   * A device whose state is what a file contains, from where its descriptor stands.
   *
   * @param core everything else
   */
  public static VfioOperations migrating(VfioOperations core, int fd) {
    return new DelegatingOperations(core) {
      private MigrationState state = MigrationState.RUNNING;

      @Override
      public Mono<MigrationSupport> migrationSupport() {
        return Mono.just(new MigrationSupport(false, false));
      }

      @Override
      public Mono<MigrationState> migrationState() {
        return Mono.fromSupplier(() -> state);
      }

      @Override
      public Mono<Long> migrationDataSize() {
        return Mono.just(0L);
      }

      @Override
      public Mono<Optional<MigrationData>> setMigrationState(MigrationState target) {
        return Mono.fromCallable(() -> {
          state = target;
          boolean streams = target == MigrationState.STOP_COPY || target == MigrationState.RESUMING;
          // A duplicate stands where the original does.
          return streams
              ? Optional.of(new KernelMigrationData(
                  name(), Fd.adopt(Syscalls.duplicate(fd)), false, closed -> {}))
              : Optional.empty();
        });
      }
    };
  }
}
