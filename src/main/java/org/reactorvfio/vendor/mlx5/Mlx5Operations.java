package org.reactorvfio.vendor.mlx5;

import java.util.Optional;
import org.reactorvfio.operations.DelegatingOperations;
import org.reactorvfio.operations.MigrationData;
import org.reactorvfio.operations.MigrationState;
import org.reactorvfio.operations.MigrationSupport;
import org.reactorvfio.operations.VfioOperations;
import reactor.core.publisher.Mono;

/** A VF's operations: its migration goes to its PF, and ends with a reset. */
final class Mlx5Operations extends DelegatingOperations {
  private final VfMigration vf;

  Mlx5Operations(VfioOperations core, VfMigration vf) {
    super(core);
    this.vf = vf;
  }

  @Override
  public Mono<MigrationSupport> migrationSupport() {
    return Mono.just(VfMigration.SUPPORT);
  }

  @Override
  public Mono<MigrationState> migrationState() {
    return vf.state();
  }

  @Override
  public Mono<Optional<MigrationData>> setMigrationState(MigrationState target) {
    return vf.lead(target);
  }

  @Override
  public Mono<Long> migrationDataSize() {
    return vf.dataSize();
  }

  @Override
  public Mono<Void> reset() {
    return super.reset().then(vf.afterReset());
  }

  @Override
  public Mono<Void> hotReset() {
    return super.hotReset().then(vf.afterReset());
  }
}
