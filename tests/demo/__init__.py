"""`make demo`: the main job of EPUFS, told and checked on a stack of its own.

__main__.py starts and stops the stack, story.py plays, actors.py is the compute and the control
plane, stage.py prints and checks.
"""
