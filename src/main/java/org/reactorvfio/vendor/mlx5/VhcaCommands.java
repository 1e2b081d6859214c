package org.reactorvfio.vendor.mlx5;

import java.nio.ByteBuffer;
import reactor.core.publisher.Mono;

/** The commands about the migration of one VF. */
final class VhcaCommands {
  private final Mlx5Pf pf;
  private final int vhca;

  VhcaCommands(Mlx5Pf pf, int vhca) {
    this.pf = pf;
    this.vhca = vhca;
  }

  /**
   * How much there is to save.
   *
   * @param required how large the next image must be, in bytes
   * @param total how much there is, in bytes
   * @param restarted whether what is to be moved beforehand has begun anew
   */
  record Sizes(long required, long total, boolean restarted) {}

  /**
   * What was saved.
   *
   * @param size how much, in bytes
   * @param next how large the next image must be, 0 if this was the last
   */
  record Saved(int size, long next) {}

  Mlx5Pf pf() {
    return pf;
  }

  boolean chunks() {
    return pf.capabilities().chunks();
  }

  private Command command(Opcode opcode, int length, int answerLength) {
    return new Command(opcode, length, answerLength).with(Layout.VHCA_ID, vhca);
  }

  private Mono<ByteBuffer> execute(Command command) {
    return pf.commands(command.toString()).flatMap(queue -> queue.execute(command));
  }

  /** Suspends or resumes the VF, or a part of it. */
  Mono<Void> change(Opcode opcode, int what) {
    return execute(command(opcode, Layout.HEADER, Layout.HEADER).with(Layout.OP_MOD, what))
        .then();
  }

  /** Asks how much there is to save: all, or what has changed since the last time. */
  Mono<Sizes> query(boolean incremental) {
    return Mono.defer(() -> {
      Adapter.Capabilities can = pf.capabilities();
      Command command = command(
              Opcode.QUERY_VHCA_MIGRATION_STATE, Layout.HEADER, Layout.MIGRATION_LENGTH)
          .with(Layout.INCREMENTAL, incremental ? 1 : 0)
          .with(Layout.CHUNKED, can.chunks() ? 1 : 0);
      return execute(command).map(answer -> {
        long required = Layout.REQUIRED.get(answer);
        return new Sizes(
            required,
            can.chunks() ? Layout.REMAINING.get(answer) : required,
            can.tellsState() && Layout.MIGRATION_STATE.get(answer) == Layout.STATE_INITIAL);
      });
    });
  }

  /** Saves the VF's state, or what has changed, and keeps track of changes from then on, or no more. */
  Mono<Saved> save(Image image, boolean incremental, boolean track) {
    Command command = command(Opcode.SAVE_VHCA_STATE, Layout.STATE_LENGTH, Layout.HEADER)
        .with(Layout.INCREMENTAL, incremental ? 1 : 0)
        .with(Layout.TRACK, track ? 1 : 0)
        .with(Layout.MKEY, image.key())
        .with(Layout.SIZE, image.size());
    return execute(command).map(answer -> {
      long size = Layout.IMAGE_SIZE.get(answer);
      if (size > image.size()) {
        throw Mlx5CommandException.malformed(
            command.toString(), pf.name(), "it has saved " + size + " bytes in " + image.size());
      }
      return new Saved((int) size, chunks() ? Layout.NEXT_REQUIRED.get(answer) : 0);
    });
  }

  /** Loads a state, or a part of one. */
  Mono<Void> load(Image image, int size) {
    return execute(command(Opcode.LOAD_VHCA_STATE, Layout.STATE_LENGTH, Layout.HEADER)
            .with(Layout.MKEY, image.key())
            .with(Layout.SIZE, size))
        .then();
  }
}
